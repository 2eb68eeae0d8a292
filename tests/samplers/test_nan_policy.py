"""``nan="reject"`` through ``sample`` and ``anneal``, in one go and resumed; and starts that have to be left."""

import math
from functools import partial
from itertools import count

import pytest
import torch

from samplers import (
    Cycle,
    EnergyError,
    EnergyTerm,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    PseudoGibbs,
    Tempered,
    anneal,
    constant,
    named,
    sample,
)
from samplers.energy.nan_policy import ENOUGH
from samplers.errors import TooManyNaN
from tests.samplers.doubles import Replace, starts, tilt

START = torch.zeros(8, 3, dtype=torch.int64)
RUN = {"steps": 120, "seed": 3, "progress": False}
COLD = {"schedule": constant(1.0)}


def nan_at(*states):
    """Zero nats, but NaN at the given states of three sites with two values each."""
    broken = torch.tensor(states)

    def energy(x):
        hit = (x.unsqueeze(1) == broken).all(dim=2).any(dim=1)
        return torch.where(hit, math.nan, 0.0).double()

    return named("broken", energy)


class NowAndThen(EnergyTerm):
    """NaN in one row of each ``every``-th call."""

    name = "now and then"
    transient = ("calls",)

    def __init__(self, every):
        self.every, self.calls = every, count(1)

    def values(self, x, hint=None):
        values = torch.zeros(len(x), dtype=torch.float64)
        values[0] = math.nan if next(self.calls) % self.every == 0 else 0.0
        return values


def test_nan_is_an_error_unless_it_is_asked_for():
    with pytest.raises(EnergyError, match=r"'broken' is NaN at step \d+ \(chain"):
        sample(Gibbs(2), nan_at((1, 1, 1)), START, **RUN)


def test_rejected_nan_are_counted():
    trace = sample(Gibbs(2), NowAndThen(20), START, nan="reject", **RUN)
    assert trace.nan_rejected == 6  # of 1 + 120 calls; the first is the start's
    assert bool(trace.energy.isfinite().all())
    assert anneal(Gibbs(2), NowAndThen(20), START, nan="reject", **COLD, **RUN).nan_rejected == 6


def test_states_that_are_nan_are_never_entered():
    trace = sample(Gibbs(2), nan_at((1, 1, 1)), START[:1], nan="reject", steps=12, seed=1, progress=False)
    assert trace.nan_rejected <= 10
    assert not bool((trace.draws == 1).all(dim=2).any())


def test_more_than_one_in_a_hundred_end_the_run():
    with pytest.raises(TooManyNaN, match=r"rows were NaN, most recently in energy 'broken'"):
        sample(Gibbs(2), nan_at((1, 1, 1), (1, 0, 1)), START, nan="reject", steps=ENOUGH, progress=False)


def test_a_start_that_is_nan_is_an_error_under_both_policies():
    for nan in ("raise", "reject"):
        with pytest.raises(EnergyError, match="at the start"):
            sample(Gibbs(2), nan_at((0, 0, 0)), START, nan=nan, **RUN)


def test_the_count_survives(tmp_path):
    """Two calls of one sequence: the energy counts its calls on, as a second process could not."""
    energy = NowAndThen(20)
    sample(Gibbs(2), energy, START, nan="reject", run_dir=tmp_path, **{**RUN, "steps": 50})
    trace = sample(Gibbs(2), energy, START, nan="reject", run_dir=tmp_path, **RUN)
    assert trace.nan_rejected == 6


def test_an_unknown_policy_is_refused():
    with pytest.raises(InvalidInput, match="nan is 'ignore'; choose 'raise' or 'reject'"):
        sample(Gibbs(2), nan_at((1, 1, 1)), START, nan="ignore", **RUN)


@pytest.mark.parametrize(
    "kernel",
    [
        PseudoGibbs(Replace()),
        Cycle([Gibbs(3), PseudoGibbs(Replace())]),
        Mixture([(MetropolisHastings(Replace()), 0.5), (PseudoGibbs(Replace()), 0.5)]),
        Tempered(Cycle([PseudoGibbs(Replace())]), [1.0, 0.5]),
    ],
    ids=lambda kernel: type(kernel).__name__,
)
def test_what_always_accepts_cannot_reject(kernel):
    for run in (partial(sample, kernel), partial(anneal, kernel, **COLD)):
        with pytest.raises(InvalidInput, match=f"nan is 'reject', but {type(kernel).__name__} accepts some proposals"):
            run(tilt, starts(3), nan="reject", **RUN)
        run(tilt, starts(3), **RUN)


def test_a_chain_may_start_in_a_forbidden_state_and_must_leave_it():
    def forbids(x):
        return torch.where(x.sum(dim=1) < 3, math.inf, 0.0).double()

    start = torch.tensor([[1, 1, 0]]).repeat(8, 1)
    trace = sample(Gibbs(2), named("far", forbids), start, steps=100, warmup=60, progress=False)
    assert bool((trace.draws == 1).all())
    with pytest.raises(EnergyError, match=r"'far' forbids a state that would be kept as a draw at step 9 \(chain"):
        sample(Gibbs(2), named("far", forbids), START, steps=100, warmup=9, progress=False)
