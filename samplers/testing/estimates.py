"""Noisy estimates with a known law, for the proof of ``PseudoMarginal``."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.kernels.pseudo_marginal import PseudoMarginal
from samplers.randomness import generator
from samplers.testing.proposals import dirichlet_table
from samplers.testing.targets import Enumerated
from samplers.types import ChainState, Energy, Kernel

__all__ = ["StartedPseudoMarginal", "TabularEstimate"]


class TabularEstimate:
    """``W`` is one of ``outcomes`` weights of each state of ``space``, all as likely; their mean is 1.

    They differ much, and otherwise from state to state.
    """

    def __init__(self, space: Enumerated, outcomes: int, *, seed: int) -> None:
        self.space, self.weights = space, outcomes * dirichlet_table(len(space), outcomes, seed=seed)

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        outcomes = self.weights.shape[1]
        outcome = (torch.special.ndtr(noise[..., 0]) * outcomes).long().clamp(max=outcomes - 1)
        return -self.weights[self.space.index(x)].gather(1, outcome).log()


class StartedPseudoMarginal(PseudoMarginal):
    """Starts with an estimate of the law that it has in equilibrium, ``W`` times as likely as a fresh one.

    One of the averaged ``samples`` is drawn by its weight, the others as always: their mean then has that law.
    """

    estimate: TabularEstimate

    def __init__(self, estimate: TabularEstimate, kernel: Kernel, *, samples: int = 1) -> None:
        super().__init__(estimate, kernel, samples=samples)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state, rng = super().init(x, energy), generator(0, stream="estimates")
        weights = self.estimate.weights[self.estimate.space.index(x)]
        drawn = torch.randint(weights.shape[1], (len(x), self.samples), generator=rng)
        drawn[:, 0] = torch.multinomial(weights, 1, generator=rng).squeeze(1)
        mean = weights.gather(1, drawn).mean(dim=1)
        counted = torch.full((len(x),), self.samples)
        return state._replace(aux={**state.aux, "estimate": -mean.log(), "estimated": counted})
