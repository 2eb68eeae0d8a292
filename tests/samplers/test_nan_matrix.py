"""Bad numbers, wherever they come from, under both policies: what is told, what is rejected, what is counted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from samplers import (
    CallCounter,
    Constraint,
    EnergyError,
    EnergyTerm,
    Flat,
    Gibbs,
    MetropolisHastings,
    evaluate,
    iterate,
    named,
    term_names,
)
from samplers.energy.candidates import replaced
from samplers.energy.evaluation import evaluate_candidates, rejecting_nan
from samplers.energy.nan_policy import NaNCount
from samplers.errors import TooManyNaN
from samplers.randomness import generator
from samplers.run import start_chains
from samplers.run.start_check import check_none_forbidden
from tests.samplers.doubles import KERNELS, Shift, climb, stand, starts, tilt

inf, nan = math.inf, math.nan
START = torch.tensor([[0], [100], [200]])


def at(value: float, *where: int):
    """An energy that is ``value`` at states whose first site is in ``where``, else 0."""
    return named("mine", lambda x: torch.where(torch.isin(x[:, 0], torch.tensor(where)), value, 0.0))


def both(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] == 2, nan, torch.where(x[:, 0] == 102, -inf, 0.0))


def told(x: Tensor) -> Tensor:
    if bool((x == 102).any()):
        raise EnergyError("has no text", term="told", rows=[1], x=x[1:2])
    return torch.zeros(len(x))


def run(energy, x0=START, *, steps=4, reject=False, kernel=None):
    """Last states, as a list, and the count."""
    kernel, counts = kernel or climb(), NaNCount()
    state = start_chains(kernel, energy, x0)
    followed = rejecting_nan(energy, counts) if reject else energy
    *_, (_, state, _) = iterate(kernel, followed, state, steps=steps, rng=generator(0))
    return state.x[:, 0].tolist(), counts


# The matrix. Of three chains that go up by one each step: energy, error under "raise", then what "reject" does: the
# last states and the NaNs counted, or None where it is an error just the same.
MATRIX = {
    "NaN at the start, one chain": (at(nan, 100), r"is NaN at the start \(chain 1\)", None),
    "NaN at the start, all": (at(nan, 0, 100, 200), r"is NaN at the start \(chain 0, 1, 2\)", None),
    "NaN at a step, one chain": (at(nan, 103), r"is NaN at step 2 \(chain 1\)", ([4, 102, 204], 2)),
    "NaN at a step, all": (at(nan, 2, 102, 202), r"is NaN at step 1 \(chain 0, 1, 2\)", ([1, 101, 201], 9)),
    "NaN that passes": (at(nan, 203, 4), r"is NaN at step 2 \(chain 2\)", ([3, 104, 202], 3)),
    "-inf at the start": (at(-inf, 100), r"is -inf.* at the start \(chain 1\)", None),
    "-inf at a step": (at(-inf, 103), r"is -inf.* at step 2 \(chain 1\)", None),
    "NaN and -inf at a step": (both, r"is (NaN|-inf).* at step 1 \(chain", None),
    "NaN and -inf from a sum": (CallCounter(named("mine", both) + Flat()), r"is NaN at step 1 \(chain 0, 1\)", None),
    "another fault of one row": (told, r"has no text at step 1 \(chain 1\)", None),
    "+inf at a step": (at(inf, 103), None, ([4, 102, 204], 0)),
    "wrong shape": (lambda x: torch.zeros(len(x), 1), r"returned shape \[3, 1\].* at the start", None),
    "too few": (lambda x: torch.zeros(2), r"returned shape \[2\] for 3 states", None),
    "wrong device": (lambda x: torch.zeros(len(x), device="meta"), "a tensor on meta for states on cpu", None),
    "no tensor": (lambda x: [0.0] * len(x), "returned list, not a tensor", None),
    "with a graph": (lambda x: x[:, 0] * torch.ones((), requires_grad=True) * 0, None, ([4, 104, 204], 0)),
    "integers": (lambda x: torch.zeros_like(x[:, 0]), None, ([4, 104, 204], 0)),
    "booleans": (lambda x: x[:, 0] < 0, None, ([4, 104, 204], 0)),
}


@pytest.mark.parametrize("name", MATRIX)
def test_raise_is_the_default(name):
    energy, message, rejected = MATRIX[name]
    if message is None:
        assert run(energy)[0] == rejected[0]
        return
    with pytest.raises(EnergyError, match=message) as caught:
        run(energy)
    assert caught.value.nan == (name.startswith("NaN") and "-inf" not in name)


@pytest.mark.parametrize("name", MATRIX)
def test_reject_forgives_nan_in_steps_and_nothing_else(name):
    energy, message, rejected = MATRIX[name]
    if rejected is None:
        with pytest.raises(EnergyError, match=message):
            run(energy, reject=True)
        return
    last, counts = run(energy, reject=True)
    assert (last, counts.nan) == rejected
    assert counts.rows == 12


# Ways in which a term may say NaN


def lawless(x: Tensor) -> Tensor:
    return (x.sum(dim=1) % 4 == 3) & (x[:, 0] != 1)


def number(x: Tensor) -> Tensor:
    return torch.where(lawless(x), nan, tilt(x))


class Raises(EnergyTerm):
    """Raises for NaN, as functions of texts do, and tells ``most`` of the rows at a time."""

    name = "mine"

    def __init__(self, most: int) -> None:
        self.most = most

    def values(self, x, hint=None):
        bad = lawless(x).nonzero().squeeze(1)[: self.most].tolist()
        if bad:
            raise EnergyError("returned nan", term="mine", rows=bad, x=x[bad], nan=True)
        return tilt(x)


class Shares(EnergyTerm):
    """With a candidate path of its own."""

    name = "mine"

    def __init__(self, inner) -> None:
        self.inner, self.shared = inner, 0

    def values(self, x, hint=None):
        return self.inner(x)

    def candidate_values(self, x, site, values):
        self.shared += 1
        return self.inner(replaced(x, site, values)).reshape(values.shape)


FORMS = {
    "function": lambda: number,
    "term": lambda: named("mine", number),
    "raises for all": lambda: Raises(10**6),
    "raises for one": lambda: Raises(1),
    "shares": lambda: Shares(number),
    "shares and raises": lambda: Shares(Raises(1)),
    "counted sum": lambda: CallCounter(named("mine", number) + Flat()),
}


def walled(weight: float = 1.0):
    return weight * named("mine", tilt) + Constraint("number", lambda x: ~lawless(x))


def same_chains(kernel, energy, expected, *, steps=12):
    """Both energies lead every chain along the same states of the same energies."""
    x0, counts = starts(8) % 2, NaNCount(rows=10**6)
    assert not bool(lawless(x0).any())
    first = start_chains(kernel, energy, x0)
    second = start_chains(kernel, expected, x0)
    runs = zip(
        iterate(kernel, rejecting_nan(energy, counts), first, steps=steps, rng=generator(3)),
        iterate(kernel, expected, second, steps=steps, rng=generator(3)),
        strict=True,
    )
    for (_, left, _), (_, right, _) in runs:
        assert torch.equal(left.x, right.x)
        assert torch.equal(left.energy, right.energy)
        assert torch.equal(left.energy, left.terms.sum(dim=1))
    return counts


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name != "pseudo-gibbs"])
@pytest.mark.parametrize("form", FORMS)
def test_the_law_is_the_target_on_states_that_have_a_number(kernel, form):
    assert same_chains(KERNELS[kernel](), FORMS[form](), walled()).nan > 0


@pytest.mark.parametrize("weight", [-1.5, 0.0, 0.25])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "function"])
def test_nan_is_forbidden_at_every_weight(form, weight):
    weighted = named("other", tilt) + weight * FORMS[form]()
    assert same_chains(Gibbs(3), weighted, named("other", tilt) + walled(weight)).nan > 0


def test_terms_keep_their_names_columns_and_hardness():
    x, counts = torch.tensor([[0], [1], [2]]), NaNCount()
    hard = Constraint("low", lambda x: x[:, 0] < 2)
    energy = 2.0 * named("a", lambda x: x[:, 0] + 0.5) + hard + Flat() * -1.0
    wrapped = rejecting_nan(energy, counts)
    assert term_names(wrapped) == term_names(energy) == ("a", "low", "flat")
    assert [part.is_constraint for _, part in wrapped.parts] == [False, True, False]
    assert torch.equal(evaluate(wrapped, x).terms, evaluate(energy, x).terms)
    assert term_names(rejecting_nan(tilt, counts)) == ("tilt",)
    assert rejecting_nan(hard, counts).is_constraint


def test_hints_follow_their_rows():
    seen = []

    class Hinted(Raises):
        def values(self, x, hint=None):
            seen.append(hint.tolist())
            return super().values(x)

    x = torch.tensor([[0, 0], [0, 3], [2, 1]])
    energy = evaluate(rejecting_nan(Hinted(10), NaNCount()), x, torch.tensor([7, 8, 9])).energy
    assert energy.tolist() == [0.0, inf, inf]
    assert seen == [[7, 8, 9], [7]]


# What is counted


def test_a_row_counts_once_however_many_terms_see_it():
    counts = NaNCount()
    energy = (
        Constraint("not 3", lambda x: x[:, 0] != 3)
        + named("a", lambda x: torch.where(x[:, 0] == 1, nan, 0.0))
        + named("b", lambda x: torch.where(x[:, 0] < 3, torch.where(x[:, 0] > 0, nan, 0.0), 0.0))
    )
    value = evaluate(rejecting_nan(energy, counts), torch.arange(6).unsqueeze(1)).energy
    assert value.tolist() == [0, inf, inf, inf, 0, 0]
    assert (counts.rows, counts.nan) == (5, 2)  # what the constraint forbids, no model saw


def test_constraints_alone_are_counted_too():
    counts = NaNCount()
    evaluate(
        rejecting_nan(Constraint("a", lambda x: x[:, 0] > 3) + Constraint("b", lambda x: x[:, 0] > 1), counts), START
    )
    assert (counts.rows, counts.nan) == (3, 0)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "function"])
def test_each_candidate_counts_once_and_fillers_do_not(form):
    term, counts = FORMS[form](), NaNCount()
    x, site = torch.tensor([[0, 0, 0], [0, 2, 1]]), torch.tensor([0, 0])
    values = torch.tensor([[0, 2, 3, 1], [0, 1, 2, 3]])
    possible = torch.tensor([[True] * 4, [True, False, False, False]])  # (0, 2, 1) is NaN, (3, 0, 0) too
    found = evaluate_candidates(rejecting_nan(term, counts), x, site, values, 100, possible).energy
    assert (counts.rows, counts.nan) == (5, 2)
    assert found.isfinite().tolist() == [[True, True, False, True], [False] * 4]


def test_the_shared_path_stays_and_is_left_only_for_an_error():
    x, site, values = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 1]), torch.arange(4).expand(2, -1)
    for form, calls in (("shares", 0), ("shares and raises", 2)):  # of two NaN, raised one by one
        term = FORMS[form]()
        asked = CallCounter(named("inside", term.inner))
        term.inner = asked
        evaluate_candidates(rejecting_nan(term, NaNCount()), x, site, values, 100)
        assert (term.shared, asked.calls) == (1, 1 + calls), form


@pytest.mark.parametrize("shares", [False, True])
def test_calls_are_cut_as_they_are_without_tolerance(shares):
    seen = []
    term = Shares(tilt) if shares else named("mine", tilt)
    inner = term.candidate_values
    term.candidate_values = lambda x, site, values: seen.append(values.tolist()) or inner(x, site, values)
    x, site = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 1])
    possible = torch.tensor([[True, False, True], [False, True, False]])
    evaluate_candidates(term, x, site, torch.arange(3).expand(2, -1), 3, possible)
    plain = seen.copy()
    seen.clear()
    evaluate_candidates(rejecting_nan(term, NaNCount()), x, site, torch.arange(3).expand(2, -1), 3, possible)
    assert seen == plain == ([[[0, 2]], [[1, 1]]] if shares else [[[0], [2], [1]]])


# When it is too much


@pytest.mark.parametrize(("rows", "borne"), [(0, 10), (500, 10), (999, 10), (2000, 20), (5000, 50)])
def test_ten_nans_are_borne_and_then_one_percent(rows, borne):
    counts = NaNCount(rows=rows, nan=borne - 1)
    energy = rejecting_nan(at(nan, 100), counts)
    assert evaluate(energy, START[1:2]).energy.tolist() == [inf]
    with pytest.raises(TooManyNaN, match=rf"{borne + 1} of {rows + 2} rows .* 'mine'.*1%.* nan=\"raise\""):
        evaluate(energy, START[1:2])


def test_a_chain_that_meets_nothing_but_nan_ends_the_run():
    energy = named("mine", lambda x: torch.where(x[:, 0] > 200, nan, 0.0))
    with pytest.raises(TooManyNaN):
        run(energy, START[2:], steps=12, reject=True)
    assert run(energy, START[2:], steps=10, reject=True)[1] == NaNCount(10, 10)


def test_the_count_goes_on_where_a_run_stopped():
    """Two halves, the second from the stored numbers, count as the whole does."""
    energy, counts = at(nan, 2, 103), NaNCount()
    kernel = MetropolisHastings(Shift(1))
    state = start_chains(kernel, energy, START)
    *_, (_, state, _) = iterate(kernel, rejecting_nan(energy, counts), state, steps=3, rng=generator(0))
    counts = NaNCount(rows=counts.rows, nan=counts.nan)
    list(iterate(kernel, rejecting_nan(energy, counts), state, steps=3, rng=generator(1)))
    assert counts == run(energy, steps=6, reject=True)[1] == NaNCount(rows=18, nan=9)


# A forbidden start


def wall(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] < 3, inf, 0.0)


@pytest.mark.parametrize(("by", "leaves"), [(3, True), (1, False)])
def test_a_forbidden_start_is_allowed_if_it_is_left(by, leaves):
    kernel, energy = MetropolisHastings(Shift(by)), Flat() + named("wall", wall)
    ((_, state, _),) = iterate(kernel, energy, torch.tensor([[0], [5], [1]]), steps=1, rng=generator(0))
    if leaves:
        check_none_forbidden(energy, 0, state)
        return
    with pytest.raises(EnergyError) as caught:
        check_none_forbidden(energy, 7, state, first_row=20)
    error = caught.value
    assert (error.term, error.step, error.rows, error.x.tolist()) == ("wall", 7, [20, 22], [[0], [1]])
    assert "forbids a state that would be kept as a draw" in str(error)
    assert "lengthen the warmup" in str(error)
    assert "at step 7 (chain 20, 22)" in str(error)
    assert not error.nan


def test_a_chain_that_stands_where_it_may_is_no_error():
    ((_, state, _),) = iterate(stand(), wall, torch.tensor([[5]]), steps=1, rng=generator(0))
    check_none_forbidden(wall, 0, state)
