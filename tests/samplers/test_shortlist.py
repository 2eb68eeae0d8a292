"""``ShortlistGibbs`` beyond the battery's cases: who stays, what a step costs, which lists are refused."""

import math

import pytest
import torch

from samplers import (
    CallCounter,
    EnergyError,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    ProposalError,
    iterate,
    named,
    sample,
)
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.randomness import generator
from samplers.testing import Enumerated, TabularShortlist, detailed_balance_error, enumerate_states, transition_matrix
from tests.samplers.doubles import Replace, tilt

VALUES, SITES = 4, 3
STATES = enumerate_states(VALUES, SITES)
SPACE = Enumerated(STATES, tilt)


def fixed(*values):
    """The same list everywhere."""
    return lambda x, site: torch.tensor(values).expand(len(x), -1)


def step(kernel, x, energy=tilt, **options):
    return kernel.step(kernel.init(x, energy), energy, generator(0), **options)


def test_a_value_outside_the_list_stays_and_costs_nothing():
    counter = CallCounter(named("tilt", tilt))
    x = torch.tensor([[3, 3, 3], [3, 3, 3], [0, 0, 0], [1, 1, 1]])
    kernel = ShortlistGibbs(fixed(0, 1))
    state = kernel.init(x, counter)
    counter.calls = counter.rows = 0
    after, info = kernel.step(state, counter, generator(0))
    assert info.accepted.tolist() == [False, False, True, True]
    assert torch.equal(after.x[:2], x[:2])
    assert torch.equal(after.energy, tilt(after.x))
    assert (counter.calls, counter.rows) == (1, 4)


def test_nothing_free_stays():
    x = torch.tensor([[0, 1, 2], [1, 1, 1], [2, 2, 2]])
    kernel = ShortlistGibbs(fixed(0, 1, 2), free=lambda x: (x != x[:, :1]).any(dim=1, keepdim=True).expand_as(x))
    trace = sample(kernel, tilt, x, steps=30)
    assert torch.equal(trace.draws[1:], x[1:].unsqueeze(1).expand(-1, 30, -1))
    assert len(trace.draws[0].unique(dim=0)) > 3
    assert not (trace.draws[0] == trace.draws[0][:, :1]).all(dim=1).any()  # from there nothing would be free


def test_moves_that_change_what_is_free_are_left_out():
    """Site 2 is free where site 0 holds 0 or 1: not even the number of free sites may change, nor their place."""

    def number(x):
        return torch.stack([x[:, 0] >= 0, x[:, 0] >= 0, x[:, 0] < 2], dim=1)

    def place(x):
        return torch.stack([x[:, 0] >= 0, x[:, 0] >= 2, x[:, 0] < 2], dim=1)

    for free in (number, place):
        kernel = ShortlistGibbs(fixed(*range(VALUES)), free=free)
        matrix = transition_matrix(kernel, SPACE)
        low = STATES[:, 0] < 2
        assert float(matrix[low][:, ~low].max()) == 0
        assert float(matrix[~low][:, low].max()) == 0
        assert detailed_balance_error(matrix, SPACE.probabilities()) < 1e-15
        trace = sample(kernel, tilt, STATES, steps=20)
        assert torch.equal(trace.draws[:, :, 0] < 2, low.unsqueeze(1).expand(-1, 20))


def test_a_forbidden_start_is_left_where_the_list_allows():
    def walled(x):
        return torch.where((x == 0).any(dim=1), math.inf, 0.0)

    x = torch.tensor([[0, 1, 1], [0, 1, 1]])
    free = torch.tensor([True, False, False]).expand_as
    trace = sample(ShortlistGibbs(fixed(0, 2), free=free), walled, x, steps=3)
    assert (trace.draws == torch.tensor([2, 1, 1])).all()
    for _, stuck, info in iterate(ShortlistGibbs(fixed(0), free=free), walled, x, steps=3, rng=generator(0)):
        assert torch.equal(stuck.x, x)
        assert not info.accepted.any()


@pytest.mark.parametrize("max_rows", [1, 2, 5, 100])
def test_the_result_does_not_depend_on_the_cut(max_rows):
    shortlist = TabularShortlist(VALUES, SITES, 3, seed=3)
    whole, cut = (
        sample(ShortlistGibbs(shortlist, max_rows=m), tilt, STATES, steps=10, seed=1) for m in (4096, max_rows)
    )
    assert torch.equal(whole.draws, cut.draws)


@pytest.mark.parametrize("max_rows", [1, 4, 100])
def test_errors_name_the_chain(max_rows):
    def broken(x):
        return torch.where((x == 2).all(dim=1), math.nan, 0.0)

    free = torch.tensor([False, False, True]).expand_as
    kernel = ShortlistGibbs(fixed(0, 1, 2), free=free, max_rows=max_rows)
    with pytest.raises(EnergyError, match=r"is NaN at step 0 \(chain 2\)"):
        sample(kernel, broken, torch.tensor([[0, 0, 0], [1, 1, 1], [2, 2, 0]]), steps=2)


def test_other_moves_reach_what_no_list_holds():
    lists = ShortlistGibbs(fixed(0, 1), move_name="rescored")
    kernel = Mixture([(lists, 0.5), (MetropolisHastings(Replace(VALUES)), 0.5)])
    trace = sample(kernel, tilt, torch.full((16, SITES), 3), steps=60, seed=2)
    assert set(trace.moves) == {"rescored", "replace"}
    assert (trace.draws[:, -1] < 2).any()


@pytest.mark.parametrize(
    ("shortlist", "message"),
    [
        (fixed(0, 1, 0), r"chain 0 repeats a value: \[0, 1, 0\]"),
        (
            lambda x, site: torch.zeros(len(x), 0, dtype=torch.int64),
            r"is torch.int64 \[2, 0\], not torch.int64 \[2, K\]",
        ),
        (lambda x, site: torch.tensor([[0, 1]]), r"\[1, 2\], not torch.int64 \[2, K\]"),
        (lambda x, site: site, r"\[2\], not torch.int64 \[2, K\]"),
        (lambda x, site: torch.tensor([[0.0], [1.0]]), r"torch.float32 \[2, 1\], not torch.int64"),
    ],
)
def test_unusable_lists_are_refused(shortlist, message):
    with pytest.raises(ProposalError, match=message):
        step(ShortlistGibbs(shortlist), torch.zeros(2, SITES, dtype=torch.int64))


def test_unusable_arguments_are_refused():
    with pytest.raises(InvalidInput, match="max_rows is 0"):
        ShortlistGibbs(fixed(0), max_rows=0)
    with pytest.raises(InvalidInput, match=r"states \[chains, sites\], not \[2\]"):
        ShortlistGibbs(fixed(0)).init(torch.zeros(2, dtype=torch.int64), tilt)
