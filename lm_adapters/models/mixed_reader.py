"""Two models that read from left to right, mixed token by token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.forward.log_probs import aligned_parts, at_least_float32
from lm_adapters.models.autoregressive import Autoregressive
from samplers import InvalidInput

__all__ = ["MixedReader"]


class MixedReader:
    """``p(x_j | x_<j) = share * first(x_j | x_<j) + (1 - share) * second(x_j | x_<j)``, an ``Autoregressive``.

    For proposals: a ``second`` model that has read what is wanted leads the text there, and the ``first``, by which
    the text is scored, keeps every text of its own possible. A text of ``n`` tokens has at least ``share^(n + 1)``
    times its probability under ``first``, so that no weight ``first(x) / p(x)`` is larger than ``share^-(n + 1)``,
    however unlikely ``second`` finds the text.

    Cost: a pass of both models where one is said to cost a pass. Both read texts in the same tokens.

    Raises ``InvalidInput`` for a ``share`` not between 0 and 1, and for models with other vocabularies or ends.
    """

    def __init__(self, first: Autoregressive, second: Autoregressive, share: float) -> None:
        if not 0 < share < 1:
            raise InvalidInput(f"share is {share}; give a number between 0 and 1")
        tokenizers = (first.space.tokenizer, second.space.tokenizer)
        if tokenizers[0].get_vocab() != tokenizers[1].get_vocab() or first.eos_id != second.eos_id:
            raise InvalidInput("the models have other tokens or ends; mix models with the same vocabulary")
        self.first, self.second, self.share = first, second, share
        self.lm, self.space, self.eos_id, self.allowed = first.lm, first.space, first.eos_id, first.allowed

    def config(self) -> dict[str, Any]:
        return {"first": self.first, "second": self.second, "share": self.share}

    @property
    def max_length(self) -> int:
        return min(self.first.max_length, self.second.max_length)

    @property
    def tokens_per_pass(self) -> int:
        return min(self.first.tokens_per_pass, self.second.tokens_per_pass)

    @property
    def ragged(self) -> bool:
        return self.first.ragged and self.second.ragged

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Log-probabilities ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        return self._mixed(self.first.logits(x, wanted), self.second.logits(x, wanted))

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and what both models have read; see ``Autoregressive``."""
        first, before = self.first.read(x, wanted)
        second, beside = self.second.read(x, wanted)
        return self._mixed(first, second), replace(before, beside=beside)

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Log-probabilities ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        assert before.beside is not None
        first, after = self.first.extend(before, tokens, wanted)
        second, beside = self.second.extend(before.beside, tokens, wanted)
        return self._mixed(first, second), replace(after, beside=beside)

    def _mixed(self, first: Iterable[Tensor], second: Iterable[Tensor]) -> Iterator[Tensor]:
        own, other = math.log(self.share), math.log1p(-self.share)
        for part, beside in aligned_parts(first, at_least_float32(torch.cat(list(second)))):
            spare = part.shape[1] - beside.shape[1]  # heads may be wider than the vocabulary
            shares = pad(beside.log_softmax(dim=1) + other, (0, spare), value=-math.inf)
            yield torch.logaddexp(part.log_softmax(dim=1) + own, shares)
