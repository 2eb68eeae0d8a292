"""Broken moves: wrong ratios of wrong proposals, wrong choices of what to move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate_candidates
from samplers.kernels.gibbs import Gibbs
from samplers.kernels.metropolis import step_info
from samplers.kernels.tempering import Tempered
from samplers.randomness import categorical, draw_site, log_uniform
from samplers.testing.proposals import TabularProposal
from samplers.testing.targets import Enumerated
from samplers.types import ChainState, Energy, Proposed, StepInfo

__all__ = ["DataDependentSite", "ForcedCurrent", "RenormalisedLiu", "SwapSign", "WrongNormaliser"]


class RenormalisedLiu(Gibbs):
    """Metropolised Gibbs (Liu 1996) whose ratio takes the renormalised probability of the new value, as PyMC's did.

    Right: ``(1 - p(old)) / (1 - p(new))``. Here ``p(new)`` was already divided by ``1 - p(old)``.
    """

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        rows = torch.arange(len(state.x))
        site = draw_site(self._free(state.x), rng)
        values = self.values.expand(len(rows), -1)
        scored = evaluate_candidates(energy, state.x, site, values, self.max_rows)
        p = (-beta * scored.energy).softmax(dim=1)
        old = state.x[rows, site]  # value v is candidate v
        others = p.scatter(1, old.unsqueeze(1), 0.0) / (1 - p[rows, old]).unsqueeze(1)
        new = categorical(others.log(), rng)
        accepted = log_uniform(len(rows), rng) < ((1 - p[rows, old]) / (1 - others[rows, new])).log()
        choice = torch.where(accepted, new, old)
        x = state.x.scatter(1, site.unsqueeze(1), choice.unsqueeze(1))
        after = ChainState(x, scored.energy[rows, choice], {}, scored.terms[rows, choice])
        return after, step_info(state.x, after.x, accepted)


class DataDependentSite(Gibbs):
    """The exact conditional at a site picked by looking at the state (least confident word first), uncorrected.

    ``Gibbs`` refuses such a ``free``; this one gets round the check.
    """

    def _free(self, x: Tensor) -> Tensor:
        return x == x.amin(dim=1, keepdim=True)


class ForcedCurrent:
    """A shortlist with the current value forced into it, at the cost of the last: bert4keras' top-K candidates.

    From a value that is not on the plain list there is a way to those that are, and none back.
    """

    def __init__(self, shortlist: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.shortlist = shortlist

    def __call__(self, x: Tensor, site: Tensor) -> Tensor:
        values, old = self.shortlist(x, site), x.gather(1, site.unsqueeze(1))
        missing = ~(values == old).any(dim=1, keepdim=True)
        return torch.cat([values[:, :-1], torch.where(missing, old, values[:, -1:])], dim=1)


class WrongNormaliser(TabularProposal):
    """A locally weighted proposal (Zanella 2020) that divides the reverse weight by the old state's sum.

    ``weights float64 [states, states]`` need not add up to anything; the sum at the new state was never computed.
    """

    def __init__(self, space: Enumerated, weights: Tensor) -> None:
        super().__init__(space, weights / weights.sum(dim=1, keepdim=True), "local")
        self.log_sums = weights.sum(dim=1).log()

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed = super().__call__(x, rng)
        slip = self.log_sums[self.space.index(proposed.x)] - self.log_sums[self.space.index(x)]
        return replace(proposed, log_q_reverse=proposed.log_q_reverse + slip)


class SwapSign(Tempered):
    """Replica exchange with the sign of the energy difference turned round."""

    def _swap(
        self, replicas: list[Tensor], ladder: Tensor, first: int, aux: dict[str, Any], rng: torch.Generator
    ) -> list[Tensor]:
        return super()._swap(replicas, -ladder, first, aux, rng)
