"""Locked text: what no move may touch, where it stands in a state, and what is left to edit around it."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["Lock", "free_sites", "insert_slots"]


class Lock(EnergyTerm):
    """Text that no move may touch, found anew in every state, so that a state is its tokens and nothing else.

    As an energy 0 where every piece is found, ``+inf`` elsewhere: add it to the target. ``min_length`` is the number of
    tokens that the pieces need.
    """

    hard = True
    space: TextSpace
    min_length: int = 1

    @abstractmethod
    def pieces(self, x: Tensor) -> Tensor:
        """``int64 [chains, width]``: ``k >= 1`` where the token belongs to the ``k``-th piece, 0 where it is free.

        All 0 at padding and in rows where not every piece is found. A function of the tokens alone.
        """

    def found(self, x: Tensor) -> Tensor:
        """``bool [chains]``: every piece is there."""
        return (self.pieces(x) > 0).any(dim=1)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return zeros.masked_fill(~self.found(x), math.inf)

    def check_length(self, max_length: int) -> None:
        """Raises ``InvalidInput`` if the pieces do not fit into ``max_length`` tokens."""
        if self.min_length > max_length:
            raise InvalidInput(
                f"{self} take {self.min_length} tokens, the limit is {max_length}; raise the limit or shorten them"
            )

    def __str__(self) -> str:
        return f"the pieces of {self.name!r}"


def free_sites(space: TextSpace, lock: Lock | None, x: Tensor) -> Tensor:
    """``bool [chains, width]``: text tokens that no piece holds."""
    inside = space.inside(x)
    return inside if lock is None else inside & (lock.pieces(x) == 0)


def insert_slots(space: TextSpace, lock: Lock | None, x: Tensor) -> Tensor:
    """``bool [chains, width + 1]``: slots where a token may be put in; slot ``j`` is before token ``j``.

    The slot after the last token is the end. No slot strictly inside a piece, none beyond the end.
    """
    slots = torch.arange(x.shape[1] + 1, device=x.device) <= space.lengths(x).unsqueeze(1)
    if lock is not None:
        held = lock.pieces(x)
        slots[:, 1:-1] &= (held[:, 1:] == 0) | (held[:, 1:] != held[:, :-1])
    return slots
