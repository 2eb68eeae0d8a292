"""Draws of a distribution as a move: exact, with the old density kept from step to step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from samplers import (
    ConditionalSMC,
    Drawn,
    EnergyTerm,
    Flat,
    IndependenceProposal,
    InvalidInput,
    MetropolisHastings,
    PathTempered,
    generator,
    importance_sample,
    rejection_sample,
    smc,
)
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


class Telling(Table):
    """Tells the density with the draws, and their energy as a hint."""

    def sample_and_log_prob(self, count: int) -> Drawn:
        x = self.sample(torch.Size([count]))
        return Drawn(x, self.log_p[state_number(x)], ENERGIES[state_number(x)])


class OtherLaw(Telling):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) * 1.0


class FromHint(EnergyTerm):
    """Counts the states of which it was not told."""

    def __init__(self) -> None:
        self.scored = 0

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        self.scored += 0 if hint is not None else len(x)
        return ENERGIES[state_number(x)] if hint is None else hint


def state_number(x: Tensor) -> Tensor:
    return (x * torch.tensor([3, 1])).sum(dim=1)


ENERGIES = torch.randn(len(STATES), dtype=torch.float64, generator=generator(2))


def test_what_is_told_with_the_draws_is_proved_too():
    check_proposal(IndependenceProposal(Telling()), STATES)
    target = Enumerated(STATES, FromHint())
    check_kernel(MetropolisHastings(IndependenceProposal(Telling())), target, draws=2**13)


USES = {
    "rejection": lambda q, energy: rejection_sample(energy, q, log_bound=9.0, num_samples=5, batch_size=50).energy,
    "importance": lambda q, energy: importance_sample(energy, q, num_samples=50).energy,
    "smc": lambda q, energy: (
        smc(
            energy, q, MetropolisHastings(IndependenceProposal(q)), num_particles=50, temperatures=[1.0], progress=False
        ).energy
    ),
    "independence": lambda q, energy: one_step(MetropolisHastings(IndependenceProposal(q)), energy),
    "conditional": lambda q, energy: one_step(ConditionalSMC(q, num_particles=3), energy),
    "path": lambda q, energy: one_step(
        PathTempered(MetropolisHastings(IndependenceProposal(q)), q, [0.5, 1.0]), energy
    ),
}


def one_step(kernel: Any, energy: EnergyTerm) -> Tensor:
    state = kernel.init(STATES.repeat(5, 1), energy)
    for turn in range(2):
        state, _ = kernel.step(state, energy, generator(turn))
    return state.energy


@pytest.mark.parametrize("use", USES)
def test_draws_that_tell_are_the_same_and_are_not_scored(use):
    found = {}
    for law in (Table(), Telling(), OtherLaw()):
        energy = FromHint()
        found[type(law)] = USES[use](law, energy), law.scored, energy.scored
    plain, telling, other = found.values()
    assert torch.equal(plain[0], telling[0])
    assert telling[1] < plain[1]
    assert telling[2] < plain[2]
    if use in ("rejection", "importance"):
        assert telling[1:] == (0, 0)
    assert other[1:] == plain[1:], "a subclass with another density cannot inherit what is told"
    assert torch.equal(plain[0], other[0])
