"""Model fingerprints, compared when a run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplers.storage import digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Fingerprinted", "hub_revision", "model_fingerprint", "vocabulary_digest"]

# Where a model was found and who wrote its file, not what it computes; dtype is a fact of its own.
INCIDENTAL = frozenset({"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype"})


class Fingerprinted:
    """A model with a tokenizer, described in a run's fingerprint by their ``model_fingerprint``."""

    model: PreTrainedModel
    space: Any  # a TextSpace, which is above this module

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        return model_fingerprint(self.model, self.space.tokenizer)

    def config(self) -> dict[str, Any]:
        """What draws depend on: weights, settings and vocabulary, by digest. Computed at the first call only."""
        return {name: fact for name, fact in self._fingerprint.items() if name != "revision"}


def model_fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """``class``, ``dtype``, ``sha256`` of all weights, digests of ``configuration`` and ``vocabulary``, ``revision``.

    Equal for two loads of one model, from any place; the weights are read one tensor at a time. ``revision`` is present
    only for models from the hub. For a language model or sentence encoder pass ``.model`` and ``.space.tokenizer``.
    """
    tensors = dict(chain(model.named_parameters(), model.named_buffers()))
    facts = {
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sha256": digest(tensors),
        "configuration": digest({}, _plain(_configuration(model))),
        "vocabulary": vocabulary_digest(tokenizer),
    }
    revision = hub_revision(model.config.name_or_path)
    return facts if revision is None else {**facts, "revision": revision}


def hub_revision(name_or_path: str | None) -> str | None:
    """The commit of a model in the Hugging Face cache, ``None`` for a local folder or an unknown name."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if not name_or_path or Path(name_or_path).is_dir():
        return None
    try:
        path = try_to_load_from_cache(name_or_path, "config.json")
    except HFValidationError:
        return None
    return Path(path).parent.name if isinstance(path, str) else None  # .../snapshots/COMMIT/config.json


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything that determines how a tokenizer encodes and decodes."""
    return digest({}, _plain(_vocabulary(tokenizer)))


def _configuration(model: PreTrainedModel) -> dict[str, Any]:
    """Settings that change what the same weights compute, such as the activation or the decoder's start."""
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
    """Merges, normaliser and the rest, without the padding and truncation that the last call set."""
    state: Mapping[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return {name: part for name, part in state.items() if name not in ("padding", "truncation")}


def _plain(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
