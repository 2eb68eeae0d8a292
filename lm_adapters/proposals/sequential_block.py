"""Redraw a block of sites one after the other, each given those before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

import torch
from torch import Tensor

from lm_adapters.energies.hints import SiteHint
from lm_adapters.proposals.gibbs_proposal import GibbsProposal
from samplers import Proposed
from samplers.randomness import log_share

__all__ = ["SequentialBlock"]


class SequentialBlock(GibbsProposal):
    """Mask a block of each chain's sites together, then fill it site by site, each given what stands by then.

    Given the block ``I`` and an order ``o`` of it, both drawn uniformly, ``q(x' | x, I, o) = prod over j of
    p(x'_oj | x without I, x'_o1 .. x'_o(j-1))``. The sites of a block so fit each other, which ``GibbsProposal`` draws
    independently. Arguments, locks and ``scan`` are as there; a scan fills its blocks from left to right.

    The reverse move fills the same block in the same order. The pair ``(I, o)`` is drawn without regard to what the
    sites hold, so each pair is a reversible move of its own, and its ratio ``q(x | x', I, o) / q(x' | x, I, o)`` is
    what the accept step needs (Hastings 1970, Biometrika 57, section 2.2). The probability of ``o`` given ``I`` is the
    same in both directions and left out.

    Cost: ``block_size`` calls of the model with ``2 block_size - 1`` rows a chain. The row with the whole block masked
    serves both directions, and the other rows of the reverse move are known beforehand: they share its call. The last
    row masks one site of the new text, which a ``SiteHint`` passes on to ``MaskedEnergy``.
    """

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        order = self.order(x, rng)
        size = order.amax(dim=1) + 1
        new, known = x.clone(), _LastRows(len(x), x.device)
        forward, reverse = (torch.zeros(len(x), dtype=torch.float64, device=x.device) for _ in range(2))
        for turn, backward in enumerate(self._logits(x, order, range(int(size.max())))):
            site = order == turn
            rows = site.any(dim=1).nonzero().squeeze(1)
            logits = self._logits(new, order, [turn])[0] if turn else backward
            drawn, share, of_old = self.truncation.draw(logits, self.model.allowed, x[site], rng)
            if turn:
                of_old = self._log_share(backward, x[site])
            forward, reverse = forward.index_add(0, rows, share), reverse.index_add(0, rows, of_old)
            new = new.masked_scatter(site, drawn)
            known.add(rows, logits, size[rows] == turn + 1)
        if self.lock is not None:
            forward, reverse = forward + self._log_block(x, order >= 0), reverse + self._log_block(new, order >= 0)
        reverse = reverse.masked_fill(size == 0, -math.inf)
        last = (order == size.unsqueeze(1) - 1).long().argmax(dim=1)
        return Proposed(new, forward, reverse, hint=known.hint(self, new, last, order >= 0))

    def block_log_prob(self, x_to: Tensor, x_from: Tensor, hidden: Tensor) -> Tensor:
        """``float64 [chains]``: log-density of the move given block and order; see ``blocks`` for ``hidden``."""
        order, total = hidden, torch.zeros(len(x_to), dtype=torch.float64, device=x_to.device)
        between = x_to.where(order >= 0, x_from)
        for turn, logits in enumerate(self._logits(between, order, range(int(order.max()) + 1))):
            site = order == turn
            total.index_add_(0, site.any(dim=1).nonzero().squeeze(1), self._log_share(logits, x_to[site]))
        return total.masked_fill((between != x_to).any(dim=1), -math.inf)

    def blocks(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every block in every order, ``int64 [chains, width]`` as from ``order``, with its log-probability."""
        if self.turn is not None:
            yield self._order_of_turn(x, self.turn), torch.zeros(len(x), dtype=torch.float64, device=x.device)
            return
        for hidden, weight in super().blocks(x):
            sites = hidden.any(dim=0).nonzero().squeeze(1).tolist()
            for places in permutations(range(len(sites))):
                order = torch.full_like(x, -1)
                order[:, sites] = torch.tensor(places, dtype=x.dtype, device=x.device)
                yield order.masked_fill(~hidden, -1), weight - math.lgamma(len(sites) + 1)

    def _logits(self, x: Tensor, order: Tensor, turns: Sequence[int]) -> tuple[Tensor, ...]:
        """For each turn ``[rows that have it, vocabulary]``: logits at its site, where later sites are masked too."""
        if not turns:
            return ()
        rows = [(order == turn).any(dim=1) for turn in turns]
        pairs = list(zip(rows, turns, strict=True))
        texts = torch.cat([x[has].masked_fill(order[has] > turn, self.model.mask_id) for has, turn in pairs])
        sites = torch.cat([order[has] == turn for has, turn in pairs])
        parts: tuple[Tensor, ...] = self.model.logits(texts, sites).split([int(has.sum()) for has in rows])
        return parts

    def _log_share(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """``float64 [rows]``: log-probabilities of ``tokens int64 [rows]``."""
        return log_share(self.truncation.scores(logits, self.model.allowed), tokens.unsqueeze(1)).squeeze(1)


class _LastRows:
    """The logits with which each text was finished: those of one masked site, all others as they stay."""

    def __init__(self, texts: int, device: torch.device) -> None:
        self.row = torch.zeros(texts, dtype=torch.int64, device=device)
        self.logits: list[Tensor] = []

    def add(self, rows: Tensor, logits: Tensor, ends: Tensor) -> None:
        """``logits`` of the texts ``rows``, of which some end here."""
        self.row[rows[ends]] = sum(map(len, self.logits)) + torch.arange(int(ends.sum()), device=rows.device)
        self.logits.append(logits[ends])

    def hint(self, proposal: GibbsProposal, x: Tensor, site: Tensor, block: Tensor) -> SiteHint | None:
        """For texts ``x`` of which ``block bool [texts, width]`` was redrawn, ``site [texts]`` last."""
        if not self.logits:
            return None
        token = x.gather(1, site.unsqueeze(1)).squeeze(1)
        logits = self.logits[0] if len(self.logits) == 1 else torch.cat(self.logits)
        return SiteHint(proposal.model, site, token, self.row, logits, block).known_where(block.any(dim=1))
