"""The texts of a model without the model: its tokenizer is enough to decode what was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_adapters.fingerprint import vocabulary_digest
from lm_adapters.loading.pretrained import loading_errors, resolve_source
from lm_adapters.models.seq2seq_config import target_tokenizer
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_space", "load_tokenizer", "target_space"]


def load_space(name_or_path: str, vocabulary: int, digest: str) -> TextSpace:
    """The space of a model's texts. Loads no weights and runs no code.

    ``vocabulary``: ids that the model scores; ``digest``: that of its tokenizer, as ``model_fingerprint`` has it.
    Raises ``InvalidInput`` where there is no such tokenizer, or another one.
    """
    tokenizer = load_tokenizer(name_or_path, trust_remote_code=False)
    if vocabulary_digest(tokenizer) != digest:
        raise InvalidInput(f"the tokenizer of {name_or_path!r} is not that of the run; name the model that it had")
    return TextSpace(tokenizer, vocabulary)


def target_space(name_or_path: str, *, trust_remote_code: bool = False) -> TextSpace:
    """The space of what a seq2seq model writes, to check texts before its weights are loaded.

    It scores as many ids as the tokenizer has. Raises ``InvalidInput`` where there is no such tokenizer.
    """
    return TextSpace(target_tokenizer(load_tokenizer(name_or_path, trust_remote_code=trust_remote_code)))


def load_tokenizer(name_or_path: str, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, whose weights need not be there. Raises ``InvalidInput`` where there is none."""
    import transformers

    source, options = resolve_source(name_or_path, trust_remote_code)
    with loading_errors(name_or_path):
        found: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(source, **options)
    return found
