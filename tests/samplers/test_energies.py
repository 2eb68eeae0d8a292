"""The algebra of energies and the checks on what an energy returns."""

import math

import pytest
import torch

from samplers import (
    CallCounter,
    Constraint,
    EnergyError,
    EnergyTerm,
    Flat,
    InvalidInput,
    MetropolisHastings,
    evaluate,
    iterate,
    named,
    sample,
    term_names,
)
from samplers.randomness import generator
from tests.samplers.doubles import Shift

inf, nan = math.inf, math.nan


def first(x):
    return x[:, 0].double()


def second(x):
    return x[:, 1].float()


X = torch.tensor([[1, 10], [2, 20], [3, 30]])


def test_a_sum_remembers_its_weighted_terms():
    energy = named("first", first) + 2.0 * named("second", second) + named("again", first) * 0.5
    value, terms = evaluate(energy, X)
    assert term_names(energy) == ("first", "second", "again")
    assert terms.tolist() == [[1, 20, 0.5], [2, 40, 1.0], [3, 60, 1.5]]
    assert torch.equal(value, terms.sum(dim=1))
    assert value.dtype == terms.dtype == torch.float64
    assert torch.equal(energy(X), value)


def test_a_weight_multiplies_every_term_of_a_sum():
    inner = named("a", first) + 3.0 * named("b", second)
    assert evaluate(2.0 * (inner + named("c", first)), X).terms[0].tolist() == [2, 60, 2]
    assert evaluate(inner, X).terms[0].tolist() == [1, 30]


def test_plain_functions_take_part_under_their_own_name():
    assert term_names(named("a", first) + second) == ("a", "second")
    assert term_names(first + named("a", second)) == ("first", "a")
    assert term_names(first) == ("first",)
    assert evaluate(first, X).terms.tolist() == [[1], [2], [3]]


def test_an_object_without_a_name_goes_by_its_class():
    class Length:
        def __call__(self, x):
            return first(x)

    assert term_names(Length()) == ("Length",)


def test_flat_is_zero():
    assert evaluate(Flat(), X).energy.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: named("a", first) * nan, "weight of energy 'a' is nan"),
        (lambda: inf * named("a", first), "weight of energy 'a' is inf"),
        (lambda: -1.0 * Constraint("c", lambda x: x[:, 0] > 0), "weight of constraint 'c' is -1"),
        (lambda: 0.0 * Constraint("c", lambda x: x[:, 0] > 0), "weight of constraint 'c' is 0"),
        (lambda: named("a", first) + named("b", first) + named("a", second), "two energies are called 'a'"),
        (lambda: named("a", first) + 3, "cannot add 3"),
    ],
)
def test_sums_that_mean_nothing_are_refused(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


class Recorder(EnergyTerm):
    """Keeps what it was asked to score."""

    def __init__(self, name, value=first):
        self.name, self.value, self.seen = name, value, []

    def values(self, x, hint=None):
        self.seen.append((x.tolist(), None if hint is None else hint.tolist()))
        return self.value(x)


def test_hard_terms_come_first_and_others_see_possible_rows_only():
    expensive = CallCounter(named("expensive", first))
    even = CallCounter(Constraint("even", lambda x: x[:, 0] % 2 == 0))
    energy = expensive + 5.0 * even
    value, terms = evaluate(energy, X)
    assert value.tolist() == [inf, 2, inf]
    assert terms.tolist() == [[inf, inf], [2, 0], [inf, inf]]
    assert (even.calls, even.rows, expensive.calls, expensive.rows) == (1, 3, 1, 1)


def test_a_row_forbidden_by_a_soft_term_is_spared_the_rest():
    late = CallCounter(named("late", second))
    energy = named("wall", lambda x: torch.where(x[:, 0] > 1, inf, 0.25)) + late
    value, terms = evaluate(energy, X)
    assert value.tolist() == [10.25, inf, inf]
    assert terms.tolist() == [[0.25, 10], [inf, inf], [inf, inf]]
    assert late.rows == 1


def test_where_nothing_is_possible_nothing_else_is_called():
    expensive = CallCounter(named("expensive", first))
    value, terms = evaluate(expensive + Constraint("never", lambda x: x[:, 0] < 0), X)
    assert value.tolist() == [inf] * 3
    assert bool((terms == inf).all())
    assert expensive.calls == 0


def test_hints_follow_their_rows():
    soft, late = Recorder("soft", lambda x: torch.where(x[:, 0] == 3, inf, 0.0)), Recorder("late")
    energy = soft + late + Constraint("not two", lambda x: x[:, 0] != 2)
    evaluate(energy, X, torch.tensor([100, 200, 300]))
    assert soft.seen == [([[1, 10], [3, 30]], [100, 300])]
    assert late.seen == [([[1, 10]], [100])]


def test_without_forbidden_rows_hints_and_states_pass_whole():
    term, single = Recorder("term"), Recorder("single")
    evaluate(term + Flat(), X, torch.tensor([7, 8, 9]))
    evaluate(single, X, torch.tensor([7, 8, 9]))
    assert term.seen == single.seen == [(X.tolist(), [7, 8, 9])]


def test_a_kernel_passes_the_hint_of_its_proposal_on():
    term = Recorder("term")
    kernel = MetropolisHastings(Shift(1, hint=True))
    list(iterate(kernel, term + Flat(), torch.tensor([[1], [2]]), steps=1, rng=generator(0)))
    assert term.seen == [([[1], [2]], None), ([[2], [3]], [10, 20])]


def test_a_call_counter_counts_and_carries_name_and_hardness():
    counter = CallCounter(named("a", first))
    evaluate(counter, X)
    evaluate(counter, X[:2])
    assert (counter.calls, counter.rows) == (2, 5)
    assert counter.name == "a"
    assert not counter.is_constraint
    assert CallCounter(Constraint("c", lambda x: x[:, 0] > 0)).is_constraint
    assert CallCounter(named("a", first) + named("b", first)).name == "a + b"


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_forbidden_state_is_forbidden_at_every_weight_from_zero_up(weight):
    energy = weight * named("wall", lambda x: torch.where(x[:, 0] == 2, inf, x[:, 0])) + Flat()
    assert evaluate(energy, X).energy.tolist() == [weight, inf, 3 * weight]


def test_a_negative_weight_cannot_turn_a_wall_into_a_well():
    with pytest.raises(EnergyError, match="'wall' times -1 is -inf") as caught:
        evaluate(-1.0 * named("wall", lambda x: torch.where(x[:, 0] == 2, inf, 0.0)) + Flat(), X)
    assert caught.value.rows == [1]


def raising(x):
    raise RuntimeError("no such file")


BAD_VALUES = {
    "nan": (lambda x: torch.where(x[:, 0] == 2, nan, 0.0), "is NaN", [1]),
    "-inf": (lambda x: torch.where(x[:, 0] >= 2, -inf, 0.0), "is -inf", [1, 2]),
    "nan and -inf": (lambda x: torch.tensor([nan, -inf, 0.0])[: len(x)], "is NaN", [0, 1]),
    "shape": (lambda x: torch.zeros(len(x), 1), r"returned shape \[3, 1\] for 3 states, not \[3\]", []),
    "scalar": (lambda x: torch.tensor(0.0), r"returned shape \[\] for 3 states", []),
    "float": (lambda x: 1.5, "returned float, not a tensor", []),
    "list": (lambda x: [0.0] * len(x), "returned list, not a tensor", []),
    "none": (lambda x: None, "returned NoneType, not a tensor", []),
    "raises": (raising, "raised RuntimeError: no such file", [0]),
    "meta": (lambda x: torch.zeros(len(x), device="meta"), "returned a tensor on meta for states on cpu", []),
}


@pytest.mark.parametrize("name", BAD_VALUES)
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: e + Flat(), lambda e: CallCounter(e)])
def test_what_cannot_be_an_energy_is_an_error_that_names_the_term(name, wrap):
    function, message, rows = BAD_VALUES[name]
    with pytest.raises(EnergyError, match=f"energy 'mine' {message}") as caught:
        evaluate(wrap(named("mine", function)), X)
    assert caught.value.term == "mine"
    assert caught.value.rows == rows
    assert caught.value.x.tolist() == (X[rows].tolist() if rows else X.tolist())


def test_an_error_names_rows_of_the_whole_batch_not_of_the_possible_ones():
    two = Constraint("not one", lambda x: x[:, 0] != 1)
    with pytest.raises(EnergyError) as caught:
        evaluate(two + named("mine", lambda x: torch.where(x[:, 0] == 3, nan, 0.0)), X)
    assert caught.value.rows == [2]
    assert caught.value.x.tolist() == [[3, 30]]


def test_rows_that_an_energy_itself_reports_are_rows_of_the_whole_batch_too():
    def mine(x):
        raise EnergyError("has no text", term="mine", rows=[1], x=x[1:])

    with pytest.raises(EnergyError) as caught:
        evaluate(Constraint("not one", lambda x: x[:, 0] != 1) + named("mine", mine), X)
    assert caught.value.rows == [2]


def test_the_cause_of_an_error_is_kept_and_an_interrupt_passes():
    with pytest.raises(EnergyError) as caught:
        evaluate(raising, X)
    assert isinstance(caught.value.__cause__, RuntimeError)

    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(interrupted, X)


def test_energies_of_integers_and_with_gradients_become_plain_float64():
    scale = torch.nn.Parameter(torch.tensor(2.0))
    learnt = evaluate(lambda x: x[:, 0] * scale, X).energy
    assert evaluate(lambda x: x[:, 0], X).energy.dtype == learnt.dtype == torch.float64
    assert learnt.tolist() == [2, 4, 6]
    assert not learnt.requires_grad


def test_terms_are_recorded_by_sample():
    energy = named("first", first) + 2.0 * named("second", second)
    trace = sample(MetropolisHastings(Shift(-1)), energy, X, steps=2)
    assert trace.term_names == ("first", "second")
    assert trace.terms.tolist() == [[[x - t, 2 * (10 * x - t)] for t in (1, 2)] for x in (1, 2, 3)]
    assert torch.equal(trace.energy, trace.terms.sum(dim=2))


def test_what_a_counter_and_a_sum_say_of_themselves():
    cheap, model = named("cheap", lambda x: x[:, 0]), Flat()
    model.expensive = True
    assert not CallCounter(lambda x: x[:, 0]).is_constraint
    assert (cheap + model).expensive
    assert not (cheap + named("other", lambda x: x[:, 0])).expensive
