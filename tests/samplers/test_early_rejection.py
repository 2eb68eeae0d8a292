"""Terms that could not turn a rejection are left out, and the draws are the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent

from samplers import CallCounter, EnergyTerm, IndependenceSteps, MetropolisHastings, Tempered, evaluate, named, sample
from samplers.kernels.independence_steps import Scored
from samplers.types import ChainState, Energy
from tests.samplers.doubles import Replace

SITES, VALUES = 4, 3


class Model(EnergyTerm):
    """A term that runs a model, as far as the order of the terms goes; never below ``lower_bound``."""

    name, expensive = "model", True

    def __init__(self, least: float) -> None:
        self.bound, self.rows = least, 0

    @property
    def lower_bound(self) -> float:
        return self.bound

    def values(self, x: Tensor, hint: object = None) -> Tensor:
        self.rows += len(x)
        return ((x * torch.arange(1, x.shape[1] + 1)).sum(dim=1) % 5).double()


def steep(x: Tensor) -> Tensor:
    return 2.0 * x.sum(dim=1).double()


def run(least: float, beta: float | None = None) -> tuple[Tensor, Tensor, int]:
    model = Model(least)
    kernel = MetropolisHastings(Replace(VALUES))
    kernel = kernel if beta is None else Tempered(kernel, betas=[1.0, beta])
    start = torch.zeros(8, SITES, dtype=torch.int64)
    trace = sample(kernel, named("steep", steep) + model, start, steps=300, seed=3, progress=False)
    return trace.draws, trace.energy, model.rows


def run_together(
    least: float, beta: float, kernel: type[IndependenceSteps] = IndependenceSteps
) -> tuple[Tensor, Tensor, int]:
    model = Model(least)
    drawn = Independent(Categorical(logits=torch.tensor([[0.0, -1.0, -2.0]] * SITES, dtype=torch.float64)), 1)
    start = torch.zeros(8, SITES, dtype=torch.int64)
    energy = named("steep", steep) + model
    trace = sample(Tempered(kernel(drawn, 11), [1.0, beta]), energy, start, steps=100, seed=3, progress=False)
    return trace.draws, trace.energy, model.rows


class NoSecondScore(IndependenceSteps):
    """What was cut short for the states that are left counts as forbidden for the new ones as well."""

    def _tried(
        self, tried: Scored, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor
    ) -> tuple[ChainState, Tensor, Tensor]:
        return super()._tried(replace(tried, limit=None), state, memory, energy, beta)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_draws_that_are_scored_together_too(beta: float):
    draws, energy, rows = run_together(0.0, beta)
    every = run_together(-math.inf, beta)
    assert torch.equal(draws, every[0])
    assert torch.equal(energy, every[1])
    assert 0 < rows < 0.8 * every[2]
    assert not torch.equal(run_together(0.0, beta, NoSecondScore)[0], every[0])


@pytest.mark.parametrize("beta", [None, 0.0, 0.3])
def test_draws_and_energies_are_those_of_a_run_that_scores_everything(beta: float | None):
    draws, energy, rows = run(0.0, beta)
    every = run(-math.inf, beta)
    assert torch.equal(draws, every[0])
    assert torch.equal(energy, every[1])
    assert 0 < rows < 0.9 * every[2]


def test_a_bound_that_is_too_high_changes_the_draws():
    """So the equality above can fail."""
    assert not torch.equal(run(3.0)[0], run(-math.inf)[0])


def test_rows_above_their_limit_count_as_forbidden_and_the_others_are_exact():
    model, x = Model(0.0), torch.tensor([[0, 0, 0, 0], [2, 2, 2, 2], [1, 0, 2, 0]])
    energy = model + named("steep", steep)
    whole = evaluate(energy, x)
    model.rows = 0
    limit = torch.tensor([math.inf, 15.9, 6.0], dtype=torch.float64)
    found = evaluate(energy, x, limit=limit)
    assert model.rows == 2
    assert found.energy.tolist() == [whole.energy[0], math.inf, whole.energy[2]]
    assert found.terms[1].tolist() == [math.inf, 16.0]


def test_a_weight_below_zero_has_no_bound():
    model, x = Model(0.0), torch.full((1, SITES), 2)
    energy = -1.0 * model + named("steep", steep)
    assert energy.lower_bound == -math.inf
    found = evaluate(energy, x, limit=torch.zeros(1, dtype=torch.float64))
    assert model.rows == 1
    assert found.energy.isfinite().all()


def test_the_bound_of_a_sum_and_of_what_wraps_it():
    energy = 2.0 * Model(0.5)
    assert energy.lower_bound == 1.0
    assert (energy + named("steep", steep)).lower_bound == -math.inf
    assert energy.expensive
    assert CallCounter(energy).lower_bound == 1.0
    assert CallCounter(energy).expensive
    assert not named("steep", steep).expensive
