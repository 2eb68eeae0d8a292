"""A model that reads from left to right, of which only the nucleus is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput

__all__ = ["NucleusReader"]


class NucleusReader:
    """``p(x_j | x_<j)`` of ``reader`` inside its nucleus, renormalised, and 0 outside: an ``Autoregressive``.

    The nucleus are the fewest likeliest of the tokens that are text by themselves, and the end, with a share of
    ``top_p`` of all these (Holtzman et al. 2020, arXiv:1904.09751). Before ``min_length`` tokens the end is not among
    them. The law of texts is that of ``NucleusEnergy`` without exempt tokens, but for ends before ``min_length``; as a
    model it can be raised to a power, drawn from by populations, and given to whatever takes one. A token that is never
    proposed (``TextSpace.fixed``) is outside.

    Cost: that of ``reader``, and a sort of the vocabulary for each token. Raises ``InvalidInput`` for ``top_p`` not
    above 0 and below 1.
    """

    def __init__(self, reader: Autoregressive, top_p: float, min_length: int = 1) -> None:
        self.truncation, self.min_length = Truncation(top_p=top_p), min_length
        if not self.truncation.cuts:
            raise InvalidInput(f"top_p is {top_p}; give a number above 0 and below 1, or take the model as it is")
        self.reader, self.lm, self.space = reader, reader.lm, reader.space
        self.eos_id, self.allowed = reader.eos_id, reader.allowed
        self._possible = reader.allowed.clone()
        self._possible[reader.eos_id] = True

    def config(self) -> dict[str, Any]:
        return {"reader": self.reader, "top_p": self.truncation.top_p, "min_length": self.min_length}

    @property
    def max_length(self) -> int:
        return self.reader.max_length

    @property
    def tokens_per_pass(self) -> int:
        return self.reader.tokens_per_pass

    @property
    def ragged(self) -> bool:
        return self.reader.ragged

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        return self._inside(self.reader.logits(x, wanted), wanted.nonzero()[:, 1])

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and what was read; see ``Autoregressive``."""
        logits, before = self.reader.read(x, wanted)
        return self._inside(logits, wanted.nonzero()[:, 1]), before

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Logits ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        row, column = wanted.nonzero().unbind(dim=1)
        logits, after = self.reader.extend(before, tokens, wanted)
        return self._inside(logits, before.counts[row] + column + 1), after

    def _inside(self, logits: Iterable[Tensor], begun: Tensor) -> Iterator[Tensor]:
        """``begun int64 [rows]``: how many tokens stand before what each row of ``logits`` is of."""
        for part, count in aligned_parts(logits, begun):
            yield self.truncation.scores(part, self._possible, (count < self.min_length, self.eos_id))
