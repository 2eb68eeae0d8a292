"""Draws of a distribution as a move: exact, with the old density kept from step to step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samplers import Flat, IndependenceProposal, InvalidInput, MetropolisHastings, generator
from samplers.testing import Enumerated, check_kernel, check_proposal, enumerate_states

STATES = enumerate_states(3, 2)


class Table:
    """Over ``STATES``, by torch's global generator, as ``torch.distributions`` draw."""

    def __init__(self) -> None:
        self.log_p = torch.linspace(-3, 1, len(STATES), dtype=torch.float64).log_softmax(dim=0)
        self.scored = 0

    def sample(self, sample_shape: torch.Size) -> Tensor:
        return STATES[torch.multinomial(self.log_p.exp(), sample_shape.numel(), replacement=True)]

    def log_prob(self, value: Tensor) -> Tensor:
        self.scored += len(value)
        return self.log_p[(value * torch.tensor([3, 1])).sum(dim=1)]


def test_draws_follow_the_density():
    check_proposal(IndependenceProposal(Table()), STATES)


def test_the_kernel_keeps_the_target():
    energy = torch.randn(len(STATES), dtype=torch.float64, generator=generator(2))
    target = Enumerated(STATES, lambda x: energy[(x * torch.tensor([3, 1])).sum(dim=1)])
    check_kernel(MetropolisHastings(IndependenceProposal(Table())), target, draws=2**13)


def test_the_old_density_is_computed_once():
    table = Table()
    kernel = MetropolisHastings(IndependenceProposal(table))
    energy = Flat()
    x = STATES.repeat(20, 1)
    state = kernel.init(x, energy)
    table.scored = 0
    state, info = kernel.step(state, energy, torch.Generator().manual_seed(0))
    kernel.step(state, energy, torch.Generator().manual_seed(1))
    assert bool(info.changed.any())
    assert table.scored == 2 * len(x)


def test_what_cannot_be_drawn_from_is_refused():
    with pytest.raises(InvalidInput, match="a distribution needs sample"):
        IndependenceProposal(object())  # type: ignore[arg-type]
