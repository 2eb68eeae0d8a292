"""Locked text: what no move may touch, where it stands in a state, and what is left to edit around it."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.last_call_cache import Remembered
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["Editable", "Lock", "editable", "free_sites", "insert_slots"]


class Lock(EnergyTerm):
    """Text that no move may touch, found anew in every state, so that a state is its tokens and nothing else.

    As an energy 0 where every piece is found, ``+inf`` elsewhere: add it to the target. ``min_length`` is the number of
    tokens that the pieces need.
    """

    is_constraint = True
    lower_bound = 0.0
    space: TextSpace
    min_length: int = 1

    @abstractmethod
    def pieces(self, x: Tensor) -> Tensor:
        """``int64 [chains, width]``: ``k >= 1`` where the token belongs to the ``k``-th piece, 0 where it is free.

        All 0 at padding and in rows where not every piece is found. A function of the tokens alone.
        """

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``pieces(x)`` and ``found(x)`` at the price of one."""
        return self._remembered(x)

    def _search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``search`` anew; to be overridden where pieces may hold no token."""
        pieces = self.pieces(x)
        return pieces, (pieces > 0).any(dim=1)

    @cached_property
    def _remembered(self) -> Remembered[tuple[Tensor, Tensor]]:
        return Remembered(self._search)

    def found(self, x: Tensor) -> Tensor:
        """``bool [chains]``: every piece is there."""
        return self.search(x)[1]

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return zeros.masked_fill(~self.found(x), math.inf)

    def check_length(self, max_length: int) -> None:
        """Raises ``InvalidInput`` if the pieces do not fit into ``max_length`` tokens."""
        if self.min_length > max_length:
            least = f"{self.min_length} tokens at least"
            raise InvalidInput(f"no room for {self}: {least}, the limit is {max_length}; raise it or shorten the text")

    def __str__(self) -> str:
        return f"the pieces of {self.name!r}"


class Editable(NamedTuple):
    """What the edits of a state may touch.

    free
        ``bool [chains, width]``: text tokens that no piece holds.
    slots
        ``bool [chains, width + 1]``: where a token may be put in; slot ``j`` is before token ``j``, the one after the
        last token is the end. None strictly inside a piece, none beyond the end.
    found
        ``bool [chains]``: every piece is there. Where not, all tokens are free.
    """

    free: Tensor
    slots: Tensor
    found: Tensor


def editable(space: TextSpace, lock: Lock | None, x: Tensor) -> Editable:
    """For states ``int64 [chains, width]``; without a lock everything."""
    inside = space.inside(x)
    slots = pad(inside, (1, 0), value=True)
    if lock is None:
        return Editable(inside, slots, torch.ones_like(inside[:, 0]))
    held, found = lock.search(x)
    slots[:, 1:-1] &= (held[:, 1:] == 0) | (held[:, 1:] != held[:, :-1])
    return Editable(inside & (held == 0), slots, found)


def free_sites(space: TextSpace, lock: Lock | None, x: Tensor) -> Tensor:
    """``Editable.free``."""
    return editable(space, lock, x).free


def insert_slots(space: TextSpace, lock: Lock | None, x: Tensor) -> Tensor:
    """``Editable.slots``."""
    return editable(space, lock, x).slots
