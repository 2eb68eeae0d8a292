"""Locked text: where it is in a state, and which sites and slots may be edited around it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.last_call_cache import LastCallCache
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["Editable", "Lock", "editable", "free_sites"]


class Lock(EnergyTerm):
    """Text that no move may change. It is located by searching each state, so a state is its tokens and nothing else.

    As an energy: 0 nats where every piece is found, ``+inf`` elsewhere; add it to the target. ``min_length`` is the
    smallest number of tokens for all pieces. ``gaps`` are the fewest and most tokens before each piece and after the
    last, for a lock whose pieces are numbered in their order; ``None`` where there are no such bounds. To write a lock,
    implement ``pieces``.
    """

    is_constraint = True
    lower_bound = 0.0
    space: TextSpace
    min_length: int = 1
    gaps: Sequence[tuple[int, int]] | None = None

    @abstractmethod
    def pieces(self, x: Tensor) -> Tensor:
        """``int64 [chains, width]``: ``k >= 1`` where the token belongs to the ``k``-th piece, 0 where it is free.

        All 0 at padding and in rows where not every piece is found. Must depend on the tokens alone.
        """

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``pieces(x)`` and ``found(x)`` from one search, cached for the last states."""
        return self._cache(x)

    def _search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``search`` without the cache; override it where a lock can have pieces without tokens."""
        pieces = self.pieces(x)
        return pieces, (pieces > 0).any(dim=1)

    @cached_property
    def _cache(self) -> LastCallCache[tuple[Tensor, Tensor]]:
        return LastCallCache(self._search)

    def found(self, x: Tensor) -> Tensor:
        """``bool [chains]``: whether every piece is found."""
        return self.search(x)[1]

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return zeros.masked_fill(~self.found(x), math.inf)

    def check_length(self, max_length: int) -> None:
        """Raise ``InvalidInput`` if the pieces do not fit in ``max_length`` tokens."""
        if self.min_length > max_length:
            needed = f"{self.min_length} tokens at least"
            raise InvalidInput(f"no room for {self}: {needed}, the limit is {max_length}; raise it or shorten the text")

    def __str__(self) -> str:
        return f"the pieces of {self.name!r}"


class Editable(NamedTuple):
    """What the edits of a state may touch.

    free
        ``bool [chains, width]``: text tokens that no piece holds and that may be proposed.
    slots
        ``bool [chains, width + 1]``: where a token may be inserted. Slot ``j`` is before token ``j``; the last slot is
        after the last token. None strictly inside a piece, and none between two tokens that are never proposed
        (``TextSpace.fixed``: the bytes of an emoji).
    found
        ``bool [chains]``: whether every piece is found. Where not, no piece holds anything.
    """

    free: Tensor
    slots: Tensor
    found: Tensor


def editable(space: TextSpace, lock: Lock | None, x: Tensor) -> Editable:
    """What may be edited in states ``x int64 [chains, width]``; without a lock, all tokens that may be proposed."""
    text, free = space.is_token(x), space.changeable(x)
    stays = text & ~free
    between = ~(stays[:, 1:] & stays[:, :-1])
    if lock is None:
        found = torch.ones(len(x), dtype=torch.bool, device=x.device)
    else:
        held, found = lock.search(x)
        unheld = held == 0
        free, between = free & unheld, between & (unheld[:, 1:] | (held[:, 1:] != held[:, :-1]))
    return Editable(free, pad(text & pad(between, (0, 1), value=True), (1, 0), value=True), found)


def free_sites(space: TextSpace, lock: Lock | None, x: Tensor) -> Tensor:
    """``bool [chains, width]``: ``Editable.free`` of ``x``."""
    free = space.changeable(x)
    return free if lock is None else free & (lock.search(x)[0] == 0)
