"""Broken independence steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from samplers.drawing import draw
from samplers.kernels.independence_steps import IndependenceSteps, MadeBefore
from samplers.kernels.metropolis import MetropolisHastings, step_info
from samplers.types import ChainState, Drawn, Energy, Proposed, StepInfo, select

__all__ = ["StaleDensity", "UntilOneIsAccepted"]


class StaleDensity(IndependenceSteps):
    """The density kept is that of the state in which the draws were made, whatever has been accepted since."""

    def _one(self, drawn: Drawn) -> MetropolisHastings:
        return MetropolisHastings(_Forgetful(self.proposal, drawn))


@dataclass(frozen=True)
class _Forgetful(MadeBefore):
    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        return replace(super().__call__(x, rng, memory), memory=memory)


class UntilOneIsAccepted(IndependenceSteps):
    """What was drawn after the first draw that is accepted is not tried."""

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        before, done = state.x, torch.zeros(len(state.x), dtype=torch.bool)
        for _ in range(self.steps):
            drawn = draw(self.proposal.distribution, len(before), rng)
            after, info = self._one(drawn).step(state, energy, rng, beta=beta)
            aux = {name: select(done, state.aux[name], after.aux[name]) for name in state.aux}
            x, value, terms = (
                select(done, getattr(state, name), getattr(after, name)) for name in ("x", "energy", "terms")
            )
            state, done = ChainState(x, value, aux, terms), done | info.accepted
        return state, step_info(before, state.x, done)
