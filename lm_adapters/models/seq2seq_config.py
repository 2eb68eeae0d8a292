"""Settings of an encoder-decoder model: the tokenizer of targets, start and end tokens, the vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "check_in_vocabulary",
    "check_one_vocabulary",
    "decoder_context",
    "end_token",
    "target_tokenizer",
]


class _TargetTokenizer:
    """A tokenizer that tokenises texts as targets and otherwise behaves like the one it wraps."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str | list[str], **options: Any) -> Any:
        return self._tokenizer(text_target=text, **options)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def target_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer of targets: the same, except for Marian, which spells them otherwise."""
    return cast(Any, _TargetTokenizer(tokenizer)) if hasattr(tokenizer, "spm_target") else tokenizer


def check_one_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ``InvalidInput`` where encoder and decoder have a vocabulary each."""
    parts = cast(Any, (model.get_input_embeddings(), model.get_output_embeddings()))
    source, target = (part.weight.shape[0] for part in parts)
    if source != target or getattr(tokenizer, "separate_vocabs", False):
        raise InvalidInput(
            f"encoder and decoder have vocabularies of their own ({source} and {target} tokens); "
            "a model with one for both is needed"
        )


def decoder_context(model: PreTrainedModel, language: int | None = None, languages: Collection[int] = ()) -> list[int]:
    """What the decoder reads before a text; see ``seq2seq_parts``. Raises ``InvalidInput`` where nothing is set.

    ``language`` is the token of the target language, one of ``languages``: it takes the place of what is forced, or of
    the start where this is a language itself, or not set (mBART).
    """
    settings = cast(Any, model.generation_config)
    start = _first_set(model, "decoder_start_token_id")
    if language is not None:
        return [language] if start is None or start in languages else [start, language]
    if start is None:  # as ``generate`` has it
        start = _first_set(model, "bos_token_id")
    if start is None:
        raise InvalidInput(
            'the model names neither a decoder start token nor a BOS token; write "decoder_start_token_id" into its '
            "generation_config.json"
        )
    return [start] if settings.forced_bos_token_id is None else [start, settings.forced_bos_token_id]


def _first_set(model: PreTrainedModel, name: str) -> int | None:
    """A setting of the generation, or else of the model."""
    for settings in (model.generation_config, model.config):
        if (value := getattr(settings, name, None)) is not None:
            return cast(int, value)
    return None


def end_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a target, as ``generate`` has it, or the first of several.

    Raises ``InvalidInput`` for none.
    """
    end: int | list[int] | None = cast(Any, model.generation_config).eos_token_id
    if end is None or end == []:
        end = tokenizer.eos_token_id
    if end is None:
        raise InvalidInput('the model names no end token; write "eos_token_id" into its generation_config.json')
    return end[0] if isinstance(end, list) else end


def check_in_vocabulary(tokens: Sequence[Any], vocabulary: int) -> None:
    """Raise ``InvalidInput`` for settings that name no token of the model."""
    for token in tokens:
        if type(token) is not int or not 0 <= token < vocabulary:
            raise InvalidInput(f"the model's settings name the token {token!r}, but it has {vocabulary} tokens")
