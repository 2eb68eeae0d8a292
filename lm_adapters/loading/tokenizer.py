"""The texts of a model without the model: its tokenizer is enough to decode what was drawn."""

from __future__ import annotations

from lm_adapters.fingerprint import vocabulary_digest
from lm_adapters.loading.pretrained import loading_errors, resolve_source
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["load_space"]


def load_space(name_or_path: str, vocabulary: int, digest: str) -> TextSpace:
    """The space of a model's texts. Loads no weights and runs no code.

    ``vocabulary``: ids that the model scores; ``digest``: that of its tokenizer, as ``model_fingerprint`` has it.
    Raises ``InvalidInput`` where there is no such tokenizer, or another one.
    """
    import transformers

    source, options = resolve_source(name_or_path, False)
    with loading_errors(name_or_path):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
    if vocabulary_digest(tokenizer) != digest:
        raise InvalidInput(f"the tokenizer of {name_or_path!r} is not that of the run; name the model that it had")
    return TextSpace(tokenizer, vocabulary)
