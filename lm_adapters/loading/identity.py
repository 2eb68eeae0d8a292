"""Model fingerprints, compared when a run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from samplers.storage import digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Identified", "identity", "vocabulary_digest"]

# Where a model was found and who wrote its file, not what it computes; the type is told on its own.
INCIDENTAL = frozenset({"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype"})


class Identified:
    """A model with a tokenizer, whose description in a run's fingerprint is their ``identity``."""

    model: PreTrainedModel
    space: Any  # a TextSpace, whose own description is made here

    @cached_property
    def _identity(self) -> dict[str, str]:
        return identity(self.model, self.space.tokenizer)

    def config(self) -> dict[str, Any]:
        """What the draws depend on: weights, settings and vocabulary, by digest. Computed at the first call only."""
        return {name: fact for name, fact in self._identity.items() if name != "revision"}


def identity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """``class``, ``dtype``, ``sha256`` of all weights, ``configuration`` and ``vocabulary`` digests, ``revision``.

    Equal for two loads of one model, wherever it lies; the weights are read one tensor at a time. ``revision`` is
    there for models from the hub only. A ``MaskedLM``, ``CausalLM``, ``Seq2SeqLM`` or ``MeanPooled`` has its two as
    ``.model`` and ``.space.tokenizer``.
    """
    tensors = dict(chain(model.named_parameters(), model.named_buffers()))
    facts = {
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sha256": digest(tensors),
        "configuration": digest({}, _plain(_configuration(model))),
        "vocabulary": vocabulary_digest(tokenizer),
    }
    revision = getattr(model.config, "_commit_hash", None)
    return facts if revision is None else {**facts, "revision": str(revision)}


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything that a tokenizer encodes and decodes by."""
    return digest({}, _plain(_vocabulary(tokenizer)))


def _configuration(model: PreTrainedModel) -> dict[str, Any]:
    """The same weights compute something else under another activation, or with another start of the decoder."""
    parts = {"model": model.config, "generation": getattr(model, "generation_config", None)}
    return {
        name: {key: value for key, value in part.to_diff_dict().items() if key not in INCIDENTAL}
        for name, part in parts.items()
        if part is not None
    }


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    added = sorted(tokenizer.added_tokens_decoder.items())
    return {
        "tokens": tokenizer.get_vocab(),
        "added": [[index, repr(token)] for index, token in added],
        "special": tokenizer.all_special_ids,
        "backend": _backend(tokenizer) if tokenizer.is_fast else type(tokenizer).__name__,
    }


def _backend(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Merges, normaliser and the rest, without the padding and truncation that its last call left there."""
    state: Mapping[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return {name: part for name, part in state.items() if name not in ("padding", "truncation")}


def _plain(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
