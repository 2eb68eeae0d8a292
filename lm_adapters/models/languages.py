"""Languages of an encoder-decoder model: codes of its tokenizer, or translation tasks of its configuration.

mBART, mBART-50, M2M-100, NLLB and PLBart have a token for each language. That of the source is one of the special
tokens around it; that of the target is what the decoder reads before a text (``seq2seq_parts``). T5 and its like name
what they translate in ``config.task_specific_params``, with a prefix for each: ``translation_fr_to_en``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from lm_adapters.loading.pretrained import listed_tasks
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["choose_languages", "language_codes", "reads_language", "translation_tasks"]

Pair = tuple[str, str]

TASK = re.compile(r"translation_([\w-]+)_to_([\w-]+)")
SHOWN = 8  # languages that a message lists, those first that begin like
COMMON = ("en", "fr", "de", "zh", "es")


def language_codes(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The token of each language, by its code (``fr``, ``fr_XX``, ``fra_Latn``); empty for most tokenizers."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    found: Mapping[str, int] | None = getattr(tokenizer, "lang_code_to_id", None)
    if found is None:
        names = [str(name) for name in tokenizer.extra_special_tokens]
        found = {name: cast(int, tokenizer.convert_tokens_to_ids(name)) for name in names}
    # Some have marks around the code where it is a token: __python__.
    return {name.strip("_"): token for name, token in found.items() if token != tokenizer.unk_token_id}


def translation_tasks(model: PreTrainedModel) -> dict[Pair, str]:
    """The prefix for each pair of languages that the model's configuration has a translation task for."""
    return {
        (match[1], match[2]): str(settings.get("prefix", ""))
        for name, settings in listed_tasks(model.config).items()
        if (match := TASK.fullmatch(name))
    }


def choose_languages(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source_lang: str | None, target_lang: str | None
) -> Pair | None:
    """Source and target language; ``None`` for a model that has no codes, where none are given.

    Where there are codes, the default is what the tokenizer was set to, if a target is set, or else the target that the
    model's settings force. Raises ``InvalidInput`` where that leaves a side open, for a language that the model does
    not have, and for a model that has none.
    """
    codes = language_codes(tokenizer)
    if codes:
        own = getattr(tokenizer, "tgt_lang", None)
        source = source_lang or (own and tokenizer.src_lang)
        target = target_lang or _forced(model, codes) or own
        if source is None and target is None:
            return _known("source_lang and target_lang", None, codes), ""
        return _known("source_lang", source, codes), _known("target_lang", target, codes)
    if source_lang is None and target_lang is None:
        return None
    pairs = translation_tasks(model)
    if not pairs:
        raise InvalidInput(
            "source_lang and target_lang are for models whose tokenizer has codes of languages, or whose configuration "
            "has translation tasks; this one has neither, leave them out"
        )
    fit = [pair for pair in pairs if source_lang in (None, pair[0]) and target_lang in (None, pair[1])]
    if len(fit) != 1:
        known = ", ".join(f"{source} to {target}" for source, target in pairs)
        raise InvalidInput(f"the model translates {known}; give source_lang and target_lang of one of these")
    return fit[0]


@contextmanager
def reads_language(tokenizer: PreTrainedTokenizerBase, language: str | None) -> Iterator[None]:
    """In this context the tokenizer puts the special tokens of ``language`` around a text; ``None`` changes nothing."""
    if language is None or not language_codes(tokenizer):
        yield
        return
    before = tokenizer.src_lang
    tokenizer.src_lang = language
    try:
        yield
    finally:
        tokenizer.src_lang = before


def _forced(model: PreTrainedModel, codes: Mapping[str, int]) -> str | None:
    """The target language that generation begins with, if the model's settings name one."""
    settings: Any = model.generation_config
    start = settings.decoder_start_token_id
    if start is None:
        start = getattr(model.config, "decoder_start_token_id", None)
    return next((code for code, token in codes.items() if token in (settings.forced_bos_token_id, start)), None)


def _known(name: str, language: str | None, codes: Mapping[str, int]) -> str:
    if language is None:
        raise InvalidInput(f"the model has codes of languages; give {name}: {_some(codes, COMMON)}")
    found = language.strip("_")
    if found not in codes:
        raise InvalidInput(f"{name} {language!r} is no language of the model: {_some(codes, (found[:2].lower(),))}")
    return found


def _some(codes: Iterable[str], first: Sequence[str]) -> str:
    names = sorted(codes, key=lambda code: code[:2] not in first)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
