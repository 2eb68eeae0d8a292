"""Broken conditional SMC: faults under which the current state no longer follows the target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samplers.kernels.conditional_smc import ConditionalSMC
from samplers.kernels.metropolis import step_info
from samplers.randomness import categorical
from samplers.types import ChainState, Energy, StepInfo, select

__all__ = ["AdaptiveResampling", "ForgottenPath", "WithoutLogQ"]


class AdaptiveResampling(ConditionalSMC):
    """Resamples only where the weights are uneven, and otherwise carries them on.

    But not that of the path, which is put in anew at every stage: the particles no longer have equal parts.
    """

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        chains, others = len(state.x), self.num_particles - 1
        betas = torch.as_tensor(beta, dtype=torch.float64).expand(chains)
        kept, particles = self._path_to(state, energy, betas, rng), self._draw(energy, chains * others, rng)
        last, carried = 0.0, torch.zeros(chains, self.num_particles, dtype=torch.float64)
        for t, mine in zip(self.temperatures, kept, strict=True):
            x, value, log_q = (torch.cat(pair) for pair in zip(mine, particles, strict=True))
            gained = self._log_weights(type(particles)(x, value, log_q), last, t, betas.repeat(self.num_particles))
            carried = carried + gained.reshape(-1, chains).T
            if t < 1:
                uneven = 1 / carried.softmax(dim=1).square().sum(dim=1) < self.num_particles / 2
                drawn = categorical(carried.repeat(others, 1), rng).reshape(others, chains)
                row = torch.where(uneven, drawn, torch.arange(1, others + 1).unsqueeze(1)) * chains
                carried = carried.where(~uneven.unsqueeze(1), 0.0).index_fill(1, torch.tensor([0]), 0.0)
                particles = self._move(x[(row + torch.arange(chains)).flatten()], energy, t, betas.repeat(others), rng)
            last = t
        chosen = categorical(carried, rng)
        after = select(chosen > 0, x[chosen * chains + torch.arange(chains)], state.x)
        return self.init(after, energy), step_info(state.x, after, chosen > 0)


class ForgottenPath(ConditionalSMC):
    """The other particles are drawn without regard to the current state, which joins them at the end."""

    def _path_to(self, state: ChainState, energy: Energy, betas: Tensor, rng: torch.Generator):  # type: ignore[no-untyped-def]
        *before, last = super()._path_to(state, energy, betas, rng)
        return [*(each._replace(energy=torch.full_like(each.energy, math.inf)) for each in before), last]


class WithoutLogQ(ConditionalSMC):
    """Weights that leave out how likely the distribution is to draw a particle."""

    def _log_weights(self, particles, last: float, t: float, betas: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        flat = particles._replace(log_q=torch.zeros_like(particles.log_q))
        return super()._log_weights(flat, last, t, betas)
