"""Swap two spans of a text."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace
from samplers import InvalidInput, Proposed

__all__ = ["SwapProposal"]


class SwapProposal:
    """Swap two spans of 1 to ``max_span`` tokens that do not overlap; all such pairs are equally likely.

    A pair is ``(i, a, j, b)``: ``a`` tokens from site ``i`` and ``b`` from ``j >= i + a``, in a text of ``n`` tokens,
    ``j + b <= n``. ``P A M B S`` becomes ``P B M A S``, and the pair ``(i, b, j + b - a, a)`` makes it ``P A M B S``
    again: it fits, since ``j + b - a >= i + b`` and ``(j + b - a) + a = j + b <= n``, and its own reverse is the first
    pair. So forward and reverse pairs correspond one to one; how many pairs fit depends on ``n`` alone, which a swap
    keeps: forward and reverse density are equal, one over that number, also where several pairs give the same text.

    Locked pieces need no special treatment: a pair does not depend on what the text holds, and a text in which a piece
    is split has infinite energy. A text of one token is kept, which counts as rejected; so is one that the pair cuts
    between two tokens that are never proposed (``TextSpace.fixed``: the bytes of an emoji), before or after the swap.
    That condition is the same for a pair and its reverse.

    Raises ``InvalidInput`` for ``max_span`` below 1.
    """

    move_names = ("swap",)

    def __init__(self, space: TextSpace, max_span: int = 3) -> None:
        if max_span < 1:
            raise InvalidInput(f"max_span is {max_span}; give at least 1")
        self.space, self.max_span = space, max_span

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        pairs, fitting = _pairs(x.shape[1], self.max_span, x.device)
        count = fitting[self.space.lengths(x)]
        u = torch.rand(len(x), dtype=torch.float64, device=x.device, generator=rng)
        pick = torch.minimum((u * count).long(), count - 1).clamp(min=0)
        swapped = x.gather(1, _sources(pairs[pick], x.shape[1]))
        possible = (count > 0) & self._keeps_characters(x, swapped, pairs[pick])
        log_q = -count.clamp(min=1).double().log()
        return Proposed(
            swapped.where(possible.unsqueeze(1), x), log_q.where(possible, 0.0), log_q.where(possible, -math.inf)
        )

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all pairs that can make it.

        Tries every pair on every chain: for tests and short texts.
        """
        pairs, fitting = _pairs(x_from.shape[1], self.max_span, x_from.device)
        count = fitting[self.space.lengths(x_from)]
        swapped = x_from[:, _sources(pairs, x_from.shape[1])]
        fits = torch.arange(len(pairs), device=x_from.device) < count.unsqueeze(1)
        rows = x_from.repeat_interleave(len(pairs), dim=0), swapped.flatten(0, 1), pairs.repeat(len(x_from), 1)
        possible = fits & self._keeps_characters(*rows).reshape(fits.shape)
        ways = ((swapped == x_to.unsqueeze(1)).all(dim=2) & possible).sum(dim=1)
        drawn = count.clamp(min=1)
        kept = (x_to == x_from).all(dim=1) * (drawn - possible.sum(dim=1))
        return ((ways + kept).double() / drawn).log()

    def _keeps_characters(self, x: Tensor, swapped: Tensor, pairs: Tensor) -> Tensor:
        """``bool [rows]``: no cut of ``pairs [rows, 4]``, nor of their reverse, is between two fixed tokens."""
        i, a, j, b = pairs.unbind(dim=1)
        cuts = torch.stack([i, i + a, j, j + b], dim=1), torch.stack([i, i + b, j + b - a, j + b], dim=1)
        kept = torch.ones_like(i, dtype=torch.bool)
        for text, at in zip((x, swapped), cuts, strict=True):
            fixed = self.space.fixed(text)
            within = pad(fixed[:, 1:] & fixed[:, :-1], (1, 1))
            kept &= ~within.gather(1, at.clamp(max=x.shape[1])).any(dim=1)
        return kept


@lru_cache(maxsize=64)
def _pairs(width: int, max_span: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """All pairs ``(i, a, j, b)`` in ``width`` tokens, ``int64 [pairs, 4]``, sorted by where they end, and ``fitting``.

    The pairs that fit in ``n`` tokens are the first ``fitting[n]``, ``int64 [width + 1]``. At least one pair is listed,
    so that an index always exists.
    """
    room = max(width, 2)
    found = []
    for a, b in product(range(1, max_span + 1), repeat=2):
        if a + b <= room:
            i, after = torch.triu_indices(room - a - b + 1, room - a - b + 1)
            found.append(torch.stack([i, torch.full_like(i, a), after + a, torch.full_like(i, b)], dim=1))
    pairs = torch.cat(found)
    end = pairs[:, 2] + pairs[:, 3]
    fitting = end.bincount(minlength=room + 1).cumsum(dim=0)
    return pairs[end.argsort(stable=True)].to(device), fitting[: width + 1].to(device)


def _sources(pairs: Tensor, width: int) -> Tensor:
    """``int64 [pairs, width]``: the column whose token each site gets; arbitrary where the text is too short."""
    i, a, j, b = pairs.unsqueeze(2).unbind(dim=1)
    site = torch.arange(width, device=pairs.device)
    middle, first = i + b, j + b - a  # where M and A begin afterwards
    source = torch.where(site < middle, site - i + j, torch.where(site < first, site - b + a, site - first + i))
    return torch.where((site < i) | (site >= j + b), site, source).clamp(max=width - 1)
