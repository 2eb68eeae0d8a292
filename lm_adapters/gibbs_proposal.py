"""Blocks of sites redrawn from a masked language model's conditionals, with the exact density of the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_adapters.truncation import Truncation
from samplers import InvalidInput, Proposed
from samplers.randomness import categorical

if TYPE_CHECKING:
    from lm_adapters.masked_lm import MaskedLM

__all__ = ["GibbsProposal", "SiteHint"]


class GibbsProposal:
    """Mask a block ``I`` of each chain's sites together and draw them from the model's conditionals.

    ``q(x' | x, I) = prod over i in I of p(x'_i | x without I)``. The reverse move masks the same block in the same
    context, so one forward pass for all chains gives both densities, truncated or not (Goyal et al. 2021,
    arXiv:2106.02736, section 4). Every chain draws its own block, uniformly; that choice does not depend on what the
    sites hold, so each block is a reversible move of its own and the densities given it are what the Hastings ratio
    needs. A text shorter than ``block_size`` is redrawn as a whole.

    With ``turn`` the block is the ``turn``-th of a systematic scan instead: ``Cycle`` the kernels of ``scan()``.
    """

    def __init__(
        self,
        model: MaskedLM,
        block_size: int = 1,
        *,
        truncation: Truncation | None = None,
        turn: int | None = None,
    ) -> None:
        if block_size < 1:
            raise InvalidInput(f"block_size is {block_size}; give at least 1")
        self.model, self.block_size, self.turn = model, block_size, turn
        self.truncation = truncation or Truncation()
        self.kinds = ("replace",) if block_size == 1 else ("block",)

    def scan(self, width: int) -> list[GibbsProposal]:
        """One proposal for each turn of a sweep over ``width`` sites, from left to right."""
        turns = range(-(-width // self.block_size))
        return [GibbsProposal(self.model, self.block_size, truncation=self.truncation, turn=t) for t in turns]

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        hidden = self._random_block(x, rng) if self.turn is None else self._block_of_turn(x)
        logits = self.model.logits(x, hidden)
        log_prob = self.truncation.log_prob(logits, self.model.allowed)
        drawn = categorical(log_prob, rng)
        new = x.masked_scatter(hidden, drawn)
        rows = hidden.nonzero(as_tuple=True)[0]
        return Proposed(
            new,
            _sum_by_row(log_prob, drawn, rows, len(x)),
            _sum_by_row(log_prob, x[hidden], rows, len(x)),
            hint=SiteHint.of(self.model, hidden, logits, drawn) if len(rows) == len(x) else None,
        )

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the density summed over every block that can make the move.

        One forward pass a block: for tests and short texts.
        """
        ways = [weight + self.block_log_prob(x_to, x_from, hidden) for hidden, weight in self.blocks(x_from)]
        return torch.stack(ways).logsumexp(dim=0)

    def block_log_prob(self, x_to: Tensor, x_from: Tensor, hidden: Tensor) -> Tensor:
        """``float64 [chains]``: log-density of the move given its block; ``-inf`` if it changes anything else."""
        log_prob = self.truncation.log_prob(self.model.logits(x_from, hidden), self.model.allowed)
        total = _sum_by_row(log_prob, x_to[hidden], hidden.nonzero(as_tuple=True)[0], len(x_from))
        return total.masked_fill(((x_to != x_from) & ~hidden).any(dim=1), -math.inf)

    def blocks(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every block ``bool [chains, width]`` with its log-probability ``[chains]`` (``-inf``: not this chain's)."""
        if self.turn is not None:
            yield self._block_of_turn(x), torch.zeros(len(x), dtype=torch.float64, device=x.device)
            return
        inside, lengths = self.model.space.inside(x), self.model.space.lengths(x)
        sizes = lengths.clamp(max=self.block_size)
        for size in sizes.unique().tolist():
            count = torch.tensor([math.comb(n, size) for n in lengths.tolist()], dtype=torch.float64, device=x.device)
            for sites in combinations(range(x.shape[1]), size):
                block = torch.zeros_like(inside)
                block[:, list(sites)] = True
                possible = (sizes == size) & ~(block & ~inside).any(dim=1)
                yield block & inside, torch.where(possible, -count.log(), -math.inf)

    def _random_block(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """``bool [chains, width]``: ``min(block_size, length)`` sites of each text, every such set equally likely."""
        keys = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=rng)
        keys = keys.masked_fill(~self.model.space.inside(x), 2.0)
        rank = keys.argsort(dim=1).argsort(dim=1)
        return rank < self.model.space.lengths(x).clamp(max=self.block_size).unsqueeze(1)

    def _block_of_turn(self, x: Tensor) -> Tensor:
        lengths = self.model.space.lengths(x).unsqueeze(1)
        site = torch.arange(x.shape[1], device=x.device)
        return ((site - self.turn * self.block_size) % lengths < self.block_size) & (site < lengths)


@dataclass(frozen=True)
class SiteHint:
    """What a single-site proposal learnt about the site it redrew, ``[rows]`` each.

    The proposal's pass masks the site in a context that old and new state share, so it is one of the passes that the
    energy of the new state needs. ``site`` is its column, ``logit`` the new token's logit there and ``log_total`` the
    logsumexp of all logits.
    """

    model: MaskedLM
    site: Tensor
    logit: Tensor
    log_total: Tensor

    @classmethod
    def of(cls, model: MaskedLM, hidden: Tensor, logits: Tensor, drawn: Tensor) -> SiteHint:
        chosen = logits.gather(1, drawn.unsqueeze(1)).squeeze(1).double()
        return cls(model, hidden.long().argmax(dim=1), chosen, logits.double().logsumexp(dim=1))

    def __getitem__(self, rows: Tensor) -> SiteHint:
        return SiteHint(self.model, self.site[rows], self.logit[rows], self.log_total[rows])


def _sum_by_row(log_prob: Tensor, tokens: Tensor, rows: Tensor, count: int) -> Tensor:
    """``float64 [count]``: the log-probabilities of ``tokens``, one a hidden site, added up for each state."""
    chosen = log_prob.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return torch.zeros(count, dtype=torch.float64, device=log_prob.device).index_add_(0, rows, chosen)
