"""Candidates of one site: the same numbers as whole states, hard terms first, and errors that name the chain."""

import math

import pytest
import torch

from samplers import CallCounter, Constraint, EnergyError, EnergyTerm, evaluate, named
from samplers.energy.candidates import replaced
from samplers.energy.evaluation import evaluate_candidates
from samplers.randomness import generator

CHAINS, SITES, K = 5, 4, 3
X = torch.randint(0, 7, (CHAINS, SITES), generator=generator(0))
SITE = torch.tensor([0, 3, 1, 1, 2])
VALUES = torch.stack([torch.randperm(7, generator=generator(1, i))[:K] for i in range(CHAINS)])
STATES = replaced(X, SITE, VALUES)


class Sharing(EnergyTerm):
    """Knows the part of the energy that the candidates of a chain share; remembers what it was asked."""

    name = "sharing"

    def __init__(self):
        self.asked = []

    def values(self, x, hint=None):
        return (x.double() * torch.arange(1, SITES + 1)).sum(dim=1)

    def candidate_values(self, x, site, values):
        self.asked.append(values.tolist())
        own = x.gather(1, site.unsqueeze(1))
        return self.values(x).unsqueeze(1) + (values - own) * (site.unsqueeze(1) + 1.0)


def tilted(x):
    return 0.5 * x.double().pow(2).sum(dim=1)


def even():
    return Constraint("even", lambda x: x.sum(dim=1) % 2 == 0)


def test_replaced_changes_one_site():
    assert STATES.shape == (CHAINS * K, SITES)
    for row, state in enumerate(STATES):
        expected = X[row // K].clone()
        expected[SITE[row // K]] = VALUES[row // K, row % K]
        assert torch.equal(state, expected)


@pytest.mark.parametrize("max_rows", [1, 2, 4, 7, 100])
@pytest.mark.parametrize(
    "energy",
    [
        tilted,
        named("a", tilted),
        Sharing(),
        Sharing() + 2.0 * named("a", tilted),
        0.5 * Sharing() + named("a", tilted) + even(),
        even() * 3.0,
    ],
    ids=["function", "term", "sharing", "sum", "constrained", "hard"],
)
def test_the_numbers_are_those_of_whole_states(energy, max_rows):
    whole = evaluate(energy, STATES)
    found = evaluate_candidates(energy, X, SITE, VALUES, max_rows)
    assert found.energy.dtype == torch.float64
    assert torch.equal(found.energy.flatten(), whole.energy)
    assert torch.equal(found.terms.flatten(0, 1), whole.terms)


@pytest.mark.parametrize("max_rows", [1, 4, 100])
def test_only_rows_still_possible_reach_a_model(max_rows):
    counter = CallCounter(named("model", tilted))
    found = evaluate_candidates(counter + even(), X, SITE, VALUES, max_rows)
    possible = int(found.energy.isfinite().sum())
    assert 0 < possible < CHAINS * K
    assert (counter.calls, counter.rows) == (-(-possible // max_rows), possible)


def test_candidates_that_are_not_wanted_cost_nothing():
    wanted = torch.zeros(CHAINS, K, dtype=torch.bool)
    wanted[1, 2] = wanted[3] = True
    counter, sharing = CallCounter(named("model", tilted)), Sharing()
    found = evaluate_candidates(counter + sharing, X, SITE, VALUES, 100, wanted)
    assert torch.equal(found.energy.isfinite(), wanted)
    assert (found.terms[~wanted] == math.inf).all()
    assert torch.equal(found.energy[wanted], evaluate(counter + sharing, STATES).energy.reshape(CHAINS, K)[wanted])
    assert counter.rows == 4 + CHAINS * K
    nothing = evaluate_candidates(counter + sharing, X, SITE, VALUES, 100, torch.zeros_like(wanted))
    assert (nothing.energy == math.inf).all()
    assert counter.rows == 4 + CHAINS * K


def test_a_term_that_shares_work_gets_whole_chains():
    sharing = Sharing()
    wanted = torch.ones(CHAINS, K, dtype=torch.bool)
    wanted[0] = wanted[2, :2] = False
    evaluate_candidates(sharing, X, SITE, VALUES, 2 * K, wanted)
    last = int(VALUES[2, 2])  # repeated to fill the row: chain 2 has this one candidate
    assert sharing.asked == [[VALUES[1].tolist(), [last] * K], VALUES[3:].tolist()]


@pytest.mark.parametrize("max_rows", [1, 2, 4, 100])
@pytest.mark.parametrize("shares", [False, True])
def test_errors_name_the_chain_and_show_the_state(shares, max_rows):
    bad = STATES[2 * K + 2]  # even, or it would not be scored, and of no other chain

    class Bad(Sharing):
        def values(self, x, hint=None):
            return torch.where((x == bad).all(dim=1), math.nan, 0.0)

        def candidate_values(self, x, site, values):
            return self.values(replaced(x, site, values)).reshape(values.shape)

    broken = Bad() if shares else named("sharing", Bad().values)
    with pytest.raises(EnergyError, match=r"'sharing' is NaN") as caught:
        evaluate_candidates(broken + even(), X, SITE, VALUES, max_rows, torch.ones_like(VALUES, dtype=torch.bool))
    assert caught.value.rows == [2]
    assert torch.equal(caught.value.x, bad.unsqueeze(0))


def test_a_wrong_shape_is_told():
    class Wrong(Sharing):
        def candidate_values(self, x, site, values):
            return values[:, 0].double()

    with pytest.raises(EnergyError, match=rf"returned shape \[{CHAINS}\] for {CHAINS * K} states"):
        evaluate_candidates(Wrong(), X, SITE, VALUES, 100)
