"""Redraw blocks of sites from a masked language model's conditionals, with exact densities in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from lm_adapters.energies.hints import SiteHint
from lm_adapters.locks.base import Lock, free_sites
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput, Proposed
from samplers.randomness import log_share

__all__ = ["GibbsProposal", "by_row"]


class GibbsProposal:
    """Mask a block ``I`` of each chain's sites together and draw them from the model's conditionals.

    ``q(x' | x, I) = prod over i in I of p(x'_i | x without I)``. The reverse move masks the same block in the same
    context, so one forward pass for all chains gives both densities, truncated or not (Goyal et al. 2021,
    arXiv:2106.02736, section 4). Every chain draws its own block, uniformly; that choice does not depend on what the
    sites hold, so each block is a reversible move of its own and the densities given it are what the Hastings ratio
    needs. A text shorter than ``block_size`` is redrawn as a whole.

    With ``lock``, blocks consist of sites that are free in ``x``, and the densities include the block's probability:
    the new text may have another number of free sites, or a locked piece where the block was, and then there is no
    reverse move (``-inf``). A text without a free site is kept, which counts as rejected. Add ``lock`` to the target
    too.

    With ``turn`` the block is the ``turn``-th of a systematic scan instead: ``Cycle`` over the kernels of ``scan()``.

    Cost: one forward pass with up to ``block_size`` masks a chain. Raises ``InvalidInput`` for ``block_size`` below 1.
    """

    def __init__(
        self,
        model: MaskedLM,
        block_size: int = 1,
        *,
        truncation: Truncation | None = None,
        turn: int | None = None,
        lock: Lock | None = None,
    ) -> None:
        if block_size < 1:
            raise InvalidInput(f"block_size is {block_size}; give at least 1")
        self.model, self.block_size, self.turn, self.lock = model, block_size, turn, lock
        self.truncation = truncation or Truncation()
        self.move_names = ("replace",) if block_size == 1 else ("block",)

    def scan(self, width: int) -> list[GibbsProposal]:
        """The proposals of a sweep over ``width`` sites from left to right, one for each turn."""
        return [
            type(self)(self.model, self.block_size, truncation=self.truncation, turn=turn, lock=self.lock)
            for turn in range(-(-width // self.block_size))
        ]

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        hidden = self._hidden(x, rng)
        logits = self.model.logits(x, hidden)
        drawn, *shares = self.truncation.draw(logits, self.model.allowed, x[hidden], rng)
        new = x.masked_scatter(hidden, drawn)
        one_site = self.block_size == 1 and len(drawn) == len(x)
        forward, reverse = shares if one_site else (by_row(share, hidden) for share in shares)
        if self.lock is not None:
            forward, reverse = forward + self._log_block(x, hidden), reverse + self._log_block(new, hidden)
            reverse = reverse.masked_fill(~hidden.any(dim=1), -math.inf)
        one_site = one_site or bool((hidden.sum(dim=1) == 1).all())
        return Proposed(
            new, forward, reverse, hint=SiteHint.of(self.model, hidden, logits, drawn) if one_site else None
        )

    def draw(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The new states alone, as a call draws them: densities and hint take a quarter of a small model's step."""
        hidden = self._hidden(x, rng)
        drawn = self.truncation.sample(self.model.logits(x, hidden), self.model.allowed, rng)
        return x.masked_scatter(hidden, drawn)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all blocks that can make it.

        One forward pass for each block: for tests and short texts.
        """
        ways = [weight + self.block_log_prob(x_to, x_from, hidden) for hidden, weight in self.blocks(x_from)]
        return torch.stack(ways).logsumexp(dim=0)

    def block_log_prob(self, x_to: Tensor, x_from: Tensor, hidden: Tensor) -> Tensor:
        """``float64 [chains]``: log-density of the move given its block, ``-inf`` if it changes any other site."""
        scores = self.truncation.scores(self.model.logits(x_from, hidden), self.model.allowed)
        total = by_row(log_share(scores, x_to[hidden].unsqueeze(1)).squeeze(1), hidden)
        return total.masked_fill(((x_to != x_from) & ~hidden).any(dim=1), -math.inf)

    def blocks(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every block ``bool [chains, width]`` with its log-probability ``[chains]`` (``-inf``: impossible there)."""
        if self.turn is not None:
            yield self._order_of_turn(x, self.turn) >= 0, torch.zeros(len(x), dtype=torch.float64, device=x.device)
            return
        free = self._free(x)
        for size in free.sum(dim=1).clamp(max=self.block_size).unique().tolist():
            for sites in combinations(range(x.shape[1]), size):
                block = torch.zeros_like(free)
                block[:, list(sites)] = True
                yield block & free, self._log_block(x, block)

    def _free(self, x: Tensor) -> Tensor:
        return free_sites(self.model.space, self.lock, x)

    def _log_block(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``float64 [chains]``: log-probability that ``hidden`` is the block drawn in state ``x``."""
        if self.turn is not None:
            possible = ((self._order_of_turn(x, self.turn) >= 0) == hidden).all(dim=1)
            return torch.zeros(len(x), dtype=torch.float64, device=x.device).masked_fill(~possible, -math.inf)
        free = self._free(x)
        count = free.sum(dim=1)
        possible = (hidden.sum(dim=1) == count.clamp(max=self.block_size)) & ~(hidden & ~free).any(dim=1)
        ways = [math.log(math.comb(n, min(n, self.block_size))) for n in range(x.shape[1] + 1)]
        log_ways = torch.tensor(ways, dtype=torch.float64, device=x.device)
        return torch.where(possible, -log_ways[count], -math.inf)

    def _hidden(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """``bool [chains, width]``: the sites of each text's block, those of ``order``."""
        if self.turn is not None or self.block_size > 1:
            return self.order(x, rng) >= 0
        free = self._free(x)
        keys = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=rng)
        first = keys.where(free, 2.0).argmin(dim=1, keepdim=True)
        return torch.zeros_like(free).scatter_(1, first, free.gather(1, first))

    def order(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """``int64 [chains, width]``: 0, 1, ... at the sites of each text's block, in a random order; -1 elsewhere.

        ``min(block_size, free)`` free sites, all such sets equally likely; those of the ``turn`` from left to right.
        """
        if self.turn is not None:
            return self._order_of_turn(x, self.turn)
        free = self._free(x)
        keys = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=rng)
        rank = keys.where(free, 2.0).argsort(dim=1).argsort(dim=1)
        return rank.masked_fill(rank >= free.sum(dim=1, keepdim=True).clamp(max=self.block_size), -1)

    def _order_of_turn(self, x: Tensor, turn: int) -> Tensor:
        free = self._free(x)
        rank = free.cumsum(dim=1) - 1
        count = free.sum(dim=1, keepdim=True).clamp(min=1)
        place = (rank - turn * self.block_size) % count
        return place.masked_fill(~free | (place >= self.block_size), -1)


def by_row(shares: Tensor, hidden: Tensor) -> Tensor:
    """``float64 [rows]``: ``shares [hidden sites]`` summed for each state."""
    total = shares.new_zeros(len(hidden))
    return total.index_add_(0, hidden.nonzero(as_tuple=True)[0], shares)
