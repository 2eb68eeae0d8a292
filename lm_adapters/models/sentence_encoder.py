"""Sentence vectors: mean-pooled states of any encoder, or a model of the sentence-transformers library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lm_adapters.fingerprint import Fingerprinted
from lm_adapters.forward.batching import Together
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.oom import run_passes, split_on_oom
from lm_adapters.forward.shared_passes import rows_of_a_pass
from lm_adapters.loading.model_files import check_config, check_loaded, check_weights, read_json
from lm_adapters.loading.pretrained import (
    check_device,
    check_dtype,
    load_pretrained,
    loading_errors,
    resolve_source,
    seeded_missing_weights,
)
from lm_adapters.loading.sentence_modules import LIBRARY, beyond_mean_pooling, check_modules
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LibraryEncoder", "MeanPooled", "SentenceEncoder"]

PROBE_TEXTS = ("a", "b c d e f g h", "i j k l m n o")


class SentenceEncoder(ABC):
    """Texts as vectors that are close for similar meanings.

    ``model`` is the transformer that reads the texts, ``space`` has its tokenizer.
    """

    model: PreTrainedModel
    space: TextSpace

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Tensor:
        """``float64 [texts, dim]``, vectors of length one; the zero vector for a text without tokens.

        Raises ``InvalidInput`` for a text that is longer than the model takes.
        """

    @staticmethod
    def from_pretrained(
        name_or_path: str, device: str = "cpu", dtype: str = "float32", *, trust_remote_code: bool = False
    ) -> SentenceEncoder:
        """Load an embedded model, a folder or a Hugging Face name, from safetensors only.

        A sentence-transformers model is loaded by that library where it is installed; without it, plain mean pooling is
        done here, with the same result. Any other encoder is mean-pooled over the tokens of the text. A model's own
        code runs only with ``trust_remote_code``.

        Raises ``InvalidInput`` as ``load_pretrained`` does, and for a sentence-transformers model with unknown modules,
        with files outside its folder, or with a pooling that needs the library where it is not installed.
        """
        found, weights = check_device(device), check_dtype(dtype)
        source, options = resolve_source(name_or_path, trust_remote_code)
        local = options["local_files_only"]
        read = partial(read_json, source, local)
        with loading_errors(name_or_path):
            modules = read("modules.json")
            if modules is not None:
                check_modules(modules, source, local, trusted=trust_remote_code)
        plain = partial(load_pretrained, "encoder", name_or_path, device=device, dtype=dtype)
        if modules is None:
            return MeanPooled(*plain(trust_remote_code=trust_remote_code))
        if find_spec(LIBRARY) is not None:
            with loading_errors(name_or_path), seeded_missing_weights():
                check_config(source, local, trusted=trust_remote_code)
                check_weights(source, local)
                whole = import_module(LIBRARY).SentenceTransformer(
                    source, device=str(found), model_kwargs={"use_safetensors": True, "dtype": weights}, **options
                )
                check_loaded(whole.transformers_model, whole.tokenizer)
                return LibraryEncoder(whole)
        with loading_errors(name_or_path):
            problem = beyond_mean_pooling(modules, read)
            longest = (read("sentence_bert_config.json") or {}).get("max_seq_length")
            if not isinstance(longest, int | None):
                raise ValueError(f"its max_seq_length is {longest!r}")
        if problem:
            raise InvalidInput(f"{name_or_path!r} {problem}, which needs a library; pip install sentence-transformers")
        return MeanPooled(*plain(trust_remote_code=trust_remote_code), pool_special=True, max_tokens=longest)


class MeanPooled(Fingerprinted, SentenceEncoder):
    """The mean of the last hidden states over a text's tokens, scaled to length one.

    ``model`` may be of any class with hidden states; a head is left out, so ``MeanPooled(lm.model,
    lm.space.tokenizer)`` makes a sentence encoder from a masked language model that is already loaded.
    ``pool_special`` includes the special tokens around a text in the mean, as in training of sentence-transformers.
    ``max_tokens``, special tokens included, is by default the model's number of positions. ``tokens_per_pass`` limits
    the tokens of one forward pass, padding included.

    Raises ``InvalidInput`` for ``tokens_per_pass`` below 1.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pool_special: bool = False,
        max_tokens: int | None = None,
        tokens_per_pass: int = 2048,
    ) -> None:
        if tokens_per_pass < 1:
            raise InvalidInput(f"tokens_per_pass is {tokens_per_pass}; give at least 1")
        self.model = cast("PreTrainedModel", model.base_model.eval().requires_grad_(False))
        self.space = TextSpace(tokenizer)
        self.pool_special, self.tokens_per_pass = pool_special, tokens_per_pass
        self.max_tokens = max_positions(self.model) if max_tokens is None else max_tokens
        self._together = self._rows_of_a_pass()

    def config(self) -> dict[str, Any]:
        """What the vectors depend on: the model, its tokenizer, and which tokens are pooled."""
        return {**super().config(), "pool_special": self.pool_special, "max_tokens": self.max_tokens}

    def embed(self, texts: Sequence[str]) -> Tensor:
        rows = self.space.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        rows = [[*self.space.prefix, *row, *self.space.suffix] for row in rows]
        _check_sizes(texts, [len(row) for row in rows], self.max_tokens)
        sizes = torch.tensor([len(row) for row in rows])
        shape = (len(rows), self.model.config.hidden_size)
        vectors = torch.zeros(shape, dtype=torch.float64, device=self.model.device)

        def run(part: Tensor) -> Tensor:
            return self._pooled([rows[i] for i in part.tolist()], sizes[part])

        for part, pooled in run_passes(sizes, self.tokens_per_pass, run, scorer=self, together=self._together):
            vectors[part] = pooled
        return normalize(vectors, dim=1)

    def _rows_of_a_pass(self) -> Together:
        rows: list[list[int]] = [self.space.tokenizer(text)["input_ids"] for text in PROBE_TEXTS]
        sizes = torch.tensor([len(row) for row in rows])
        return rows_of_a_pass(
            lambda part: self._pooled([rows[i] for i in part.tolist()], sizes[part]), sizes.tolist(), self.model.dtype
        )

    def _pooled(self, rows: list[list[int]], sizes: Tensor) -> Tensor:
        """One forward pass: ``float64 [rows, hidden]``."""
        width = max(1, int(sizes.max()))
        ids = torch.tensor([row + [self.space.pad_id] * (width - len(row)) for row in rows])
        columns, sizes = torch.arange(width), sizes.unsqueeze(1)
        attention = columns < sizes
        pooled = attention if self.pool_special else self._text(columns, sizes)
        ids, attention, pooled = (t.to(self.model.device) for t in (ids, attention, pooled))
        output = self.model(input_ids=ids, attention_mask=attention.long())
        states: Tensor = output.last_hidden_state.double()
        return states.masked_fill(~pooled.unsqueeze(2), 0.0).sum(dim=1) / pooled.sum(dim=1, keepdim=True).clamp(min=1)

    def _text(self, columns: Tensor, sizes: Tensor) -> Tensor:
        return (columns >= len(self.space.prefix)) & (columns < sizes - len(self.space.suffix))


class LibraryEncoder(Fingerprinted, SentenceEncoder):
    """A model that the sentence-transformers library has loaded, with its own pooling."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole.eval().requires_grad_(False)
        self.model: PreTrainedModel = whole.transformers_model
        self.space = TextSpace(whole.tokenizer)

    def config(self) -> dict[str, Any]:
        """What the vectors depend on: the transformer, the modules after it, and the longest text."""
        return {**super().config(), "modules": list(self.whole)[1:], "max_tokens": self.whole.max_seq_length}

    def embed(self, texts: Sequence[str]) -> Tensor:
        ids = self.whole.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        # The library would truncate a long text silently.
        _check_sizes(texts, [len(row) for row in ids], self.whole.max_seq_length)

        def run(part: Tensor) -> Tensor:
            some = [texts[i] for i in part.tolist()]
            vectors = self.whole.encode(some, convert_to_tensor=True, show_progress_bar=False)
            return cast(Tensor, vectors.double())

        parts = split_on_oom(torch.arange(len(texts)), run, scorer=self, tokens=max(map(len, ids), default=0))
        return normalize(torch.cat([vectors for _, vectors in parts]), dim=1)


def _check_sizes(texts: Sequence[str], sizes: Sequence[int], limit: float | None) -> None:
    for text, size in zip(texts, sizes, strict=True):
        if limit is not None and size > limit:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise InvalidInput(
                f"the text {shown!r} has {size} tokens with the special ones, the sentence encoder takes {limit}; "
                "shorten it or choose another encoder"
            )
