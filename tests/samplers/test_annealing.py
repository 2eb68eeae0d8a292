"""Annealing keeps the best state of each chain; schedules start, fall and end where they say."""

import math
from itertools import pairwise

import pytest
import torch

from samplers import (
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    anneal,
    constant,
    geometric,
    linear,
    logarithmic,
    named,
    sample,
)
from tests.samplers.doubles import KERNELS, VALUES, Replace, climb, starts, tilt

inf, nan = math.inf, math.nan


def rugged(x):
    """Many local minima: a fixed random number for each of the 81 states."""
    code = (x * VALUES ** torch.arange(x.shape[1])).sum(dim=1)
    return torch.rand(81, generator=torch.Generator().manual_seed(1), dtype=torch.float64)[code] * 5


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("energy", [tilt, named("half", rugged) * 0.5 + tilt])
def test_the_best_state_of_each_chain_is_kept(name, energy):
    states, values, x0 = [], [], starts(7)

    def watch(step, state, info):
        states.append(state.x.clone())
        values.append(state.energy.clone())

    best = anneal(KERNELS[name](), energy, x0, schedule=constant(2.0), steps=15, observers=[watch], seed=4)
    visited, value = torch.stack([x0, *states]), torch.stack([energy(x0).double(), *values])
    lowest, at = value.min(dim=0)
    assert torch.equal(best.energy, lowest)
    assert torch.equal(best.found_at, at - 1)
    assert torch.equal(best.x, visited[at, torch.arange(7)])
    assert torch.equal(best.energy, energy(best.x))
    assert torch.equal(best.terms.sum(dim=1), best.energy)
    assert torch.equal(best.history, value[1:].T)
    assert len(best.found_at.unique()) > 1


def test_the_first_of_equal_energies_is_the_one_found():
    best = anneal(climb(), lambda x: (x[:, 0] < 2).double(), torch.tensor([[0], [2], [-9]]), schedule=HOT, steps=5)
    assert best.found_at.tolist() == [1, -1, -1]
    assert best.x.tolist() == [[2], [2], [-9]]


HOT = constant(1e9)


@pytest.mark.parametrize("kernel", [Gibbs(VALUES), Gibbs(VALUES, scan="systematic"), MetropolisHastings(Replace())])
def test_hill_climbing_never_rises_and_ends_in_a_local_minimum(kernel):
    best = anneal(kernel, rugged, starts(16), schedule=constant(0.0), steps=150)
    assert bool((best.history.diff(dim=1) <= 0).all())
    assert torch.equal(best.energy, best.history[:, -1])
    neighbours = best.x.repeat_interleave(12, dim=0)
    row, site, value = (
        torch.arange(16 * 12),
        torch.arange(4).repeat_interleave(3).repeat(16),
        torch.arange(3).repeat(64),
    )
    neighbours[row, site] = value
    assert bool((rugged(neighbours).reshape(16, 12) >= best.energy[:, None]).all())
    warm = anneal(kernel, rugged, starts(16), schedule=constant(1.0), steps=150)
    assert bool((warm.history.diff(dim=1) > 0).any())


def test_annealing_finds_the_minimum_where_hill_climbing_is_stuck():
    every = torch.cartesian_prod(*[torch.arange(VALUES)] * 4)
    minimum = float(rugged(every).min())
    shares = {}
    for name, schedule in (("cooled", geometric(5.0, 0.1)), ("climbed", constant(0.0))):
        best = anneal(Gibbs(VALUES), rugged, starts(81), schedule=schedule, steps=300)
        shares[name] = float((best.energy == minimum).double().mean())
    assert shares["climbed"] < 0.7
    assert shares["cooled"] > 0.95


def test_a_constant_temperature_of_one_is_the_plain_chain():
    trace = sample(Gibbs(VALUES), tilt, starts(5), steps=20, seed=3, shard_size=2)
    best = anneal(Gibbs(VALUES), tilt, starts(5), schedule=constant(1.0), steps=20, seed=3, shard_size=2)
    assert torch.equal(best.history, trace.energy)


def test_the_temperature_of_each_step_is_that_of_the_schedule():
    seen = []

    class Watch:
        move_names = ("watch",)

        def __init__(self):
            self.init = climb().init

        def step(self, state, energy, rng, *, beta=1.0):
            seen.append(beta)
            return climb().step(state, energy, rng, beta=beta)

    anneal(Watch(), lambda x: x[:, 0], torch.zeros(2, 1), schedule=linear(4.0, 0.0), steps=5, shard_size=1)
    assert seen == [0.25, 1 / 3, 0.5, 1.0, inf] * 2


def test_observers_that_raise_are_counted():
    with pytest.warns(UserWarning, match="an observer raised TypeError at step 0"):
        best = anneal(climb(), tilt, torch.zeros(1, 2), schedule=HOT, steps=3, observers=[lambda step: None])
    assert best.observer_failures == 3


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [(linear(3.0, 0.5), 3.0, 0.5), (geometric(3.0, 0.5), 3.0, 0.5), (linear(2.0, 0.0), 2.0, 0.0)],
)
@pytest.mark.parametrize("steps", [2, 3, 100])
def test_schedules_start_fall_and_end(schedule, first, last, steps):
    values = [schedule(step, steps) for step in range(steps)]
    assert values[0] == first
    assert values[-1] == pytest.approx(last, abs=1e-12)
    assert all(a > b for a, b in pairwise(values))


def test_the_shapes_of_schedules():
    assert [linear(3.0, 1.0)(step, 5) for step in range(5)] == [3.0, 2.5, 2.0, 1.5, 1.0]
    assert [geometric(8.0, 0.5)(step, 5) for step in range(5)] == pytest.approx([8, 4, 2, 1, 0.5])
    assert [constant(0.7)(step, 5) for step in range(5)] == [0.7] * 5
    assert [logarithmic(2.0)(step, 5) for step in range(3)] == [2 / math.log(n) for n in (2, 3, 4)]
    assert linear(3.0, 1.0)(0, 1) == geometric(3.0, 1.0)(0, 1) == 3.0


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: constant(-1.0), "-1.0"),
        (lambda: constant(nan), "nan"),
        (lambda: constant(inf), "inf"),
        (lambda: linear(1.0, -0.5), "-0.5"),
        (lambda: linear(nan, 0.0), "nan"),
        (lambda: geometric(0.0, 1.0), "0.0"),
        (lambda: geometric(1.0, 0.0), "0.0"),
        (lambda: geometric(1.0, -2.0), "-2.0"),
        (lambda: geometric(inf, 1.0), "inf"),
        (lambda: logarithmic(-3.0), "-3.0"),
        (lambda: logarithmic(nan), "nan"),
    ],
)
def test_temperatures_that_mean_nothing_are_refused(make, value):
    with pytest.raises(InvalidInput, match=f"temperature {value} is out of range"):
        make()


@pytest.mark.parametrize("value", [-0.5, nan, inf])
def test_so_are_those_of_a_schedule_written_by_hand(value):
    def schedule(step, steps):
        return value if step == 2 else 1.0

    with pytest.raises(InvalidInput, match=f"temperature {value} at step 2"):
        anneal(climb(), tilt, torch.zeros(1, 2), schedule=schedule, steps=5)


@pytest.mark.parametrize(
    ("bad", "message"), [({"steps": 0}, "steps is 0"), ({"shard_size": -1}, "shard_size is -1"), ({"seed": -1}, "seed")]
)
def test_bad_input(bad, message):
    with pytest.raises(InvalidInput, match=message):
        anneal(climb(), tilt, torch.zeros(1, 2), **{"schedule": HOT, "steps": 5, **bad})
    with pytest.raises(InvalidInput, match=r"\[0, 2\]"):
        anneal(climb(), tilt, torch.zeros(0, 2), schedule=HOT, steps=5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    best = anneal(Gibbs(VALUES), tilt, starts(6).cuda(), schedule=geometric(2.0, 0.05), steps=40, shard_size=4)
    assert best.x.is_cuda
    assert best.found_at.is_cuda
    assert best.energy.tolist() == [0.0] * 6
