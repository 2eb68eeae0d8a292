"""Broken independence steps."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from samplers.kernels.independence_steps import IndependenceSteps, Scored
from samplers.types import ChainState, Energy, StepInfo

__all__ = ["StaleDensity", "UntilOneIsAccepted"]


class StaleDensity(IndependenceSteps):
    """The density kept is that of the state in which the draws were made, whatever has been accepted since."""

    def _tried(
        self, tried: Scored, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor
    ) -> tuple[ChainState, Tensor, Tensor]:
        after, _, accepted = super()._tried(tried, state, memory, energy, beta)
        return after, memory, accepted


class UntilOneIsAccepted(IndependenceSteps):
    """What was drawn after the first draw that is accepted is not tried."""

    done: Tensor

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        self.done = torch.zeros(len(state.x), dtype=torch.bool)
        return super().step(state, energy, rng, beta=beta)

    def _tried(
        self, tried: Scored, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor
    ) -> tuple[ChainState, Tensor, Tensor]:
        never = tried.log_u.masked_fill(self.done, math.inf)
        found = super()._tried(replace(tried, log_u=never), state, memory, energy, beta)
        self.done |= found[2]
        return found
