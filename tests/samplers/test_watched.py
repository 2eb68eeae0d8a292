"""Energies that depend on more than the state are refused with both numbers; others are not accused."""

from __future__ import annotations

import math
import random
import time

import pytest
import torch
from torch import Tensor

from samplers import Constraint, EnergyError, EnergyTerm, Gibbs, Watched, evaluate, named, sample
from samplers.energy import watched
from samplers.storage import describe

X = torch.tensor([[1, 10], [2, 20], [3, 30], [4, 40]])


def first(x: Tensor) -> Tensor:
    return x[:, 0].double()


class Drifting:
    def __init__(self, by: float) -> None:
        self.by, self.calls = by, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return first(x) + self.by * self.calls


def in_place(x: Tensor) -> Tensor:
    return first(x) + torch.arange(len(x))


def by_largest(x: Tensor) -> Tensor:
    return first(x) / x.max()


def by_mean(x: Tensor) -> Tensor:
    return first(x) - first(x).mean()


def by_count(x: Tensor) -> Tensor:
    return first(x) * len(x)


def by_chance(x: Tensor) -> Tensor:
    return first(x) + random.random()


def sorted_in_place(x: Tensor) -> Tensor:
    return x.copy_(x.sort(dim=0, descending=True).values)[:, 0].double()


def only_together(x: Tensor) -> Tensor:
    return first(x) if len(x) > 1 else x[1]


def nan_beside(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] == x[:, 0].max(), math.nan, first(x)) if len(x) > 1 else first(x)


WRONG = {
    "in place": (in_place, r"gives 4 for this state alone and 7 beside others"),
    "largest": (by_largest, r"gives 0.1 for this state alone and 0.025 beside others"),
    "mean": (by_mean, "gives 0 for this state alone and .*1.5 beside others"),
    "count": (by_count, r"gives 4 for this state alone and 16 beside others"),
    "chance": (by_chance, "for this state the first time and .* the second"),
    "drifting": (Drifting(1e-4), "for this state the first time and .* the second"),
    "sorted in place": (sorted_in_place, "gives 1 for this state alone and 4 beside others"),
    "only together": (only_together, r"raised IndexError: .* for this state alone, and not beside others"),
    "NaN beside others": (nan_beside, "gives 4 for this state alone and nan beside others"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:.*writes into its argument")
def test_what_depends_on_more_than_the_state_is_refused(name: str):
    function, message = WRONG[name]
    with pytest.raises(EnergyError, match=message) as caught:
        evaluate(Watched(named("mine", function)), X)
    assert "\n" not in str(caught.value)
    assert f"[{__file__}:" in str(caught.value)
    assert caught.value.rows == []  # no state is at fault


def test_chains_that_start_alike_are_compared_once_they_differ():
    energy = Watched(named("mine", by_largest))
    evaluate(energy, X[:1].expand(4, -1).clone())
    with pytest.raises(EnergyError, match=r"gives 0\.1 for this state alone"):
        evaluate(energy, X)


def test_a_single_chain_is_compared_with_its_earlier_states():
    energy = Watched(named("mine", by_largest))
    evaluate(energy, X[:1])
    with pytest.raises(EnergyError, match=r"gives 0.1 for this state at first and 0.05 beside others") as caught:
        evaluate(energy, X[1:2])
    assert caught.value.rows == []


def test_a_counter_that_drifts_too_slowly_for_one_call_is_seen_over_several():
    energy = Watched(named("mine", Drifting(5e-6)))
    evaluate(energy, X)  # 5e-6 is within rounding
    energy.inner.function.by = 5e-4
    with pytest.raises(EnergyError, match="gives"):
        evaluate(energy, X + 4)


class Mine(EnergyTerm):
    name, lower_bound = "mine", -3.0

    def values(self, x: Tensor, hint: object = None) -> Tensor:
        return in_place(x)


class Right(EnergyTerm):
    name, expensive, lower_bound = "right", True, 0.0

    def values(self, x: Tensor, hint: object = None) -> Tensor:
        return first(x).float()

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        return torch.zeros(values.shape)


def test_terms_are_watched_and_keep_what_they_declare():
    with pytest.raises(EnergyError, match="'mine' gives"):
        evaluate(2.0 * Watched(Mine()) + named("other", first), X)
    term = Watched(Right())
    assert (term.name, term.expensive, term.lower_bound, term.is_constraint) == ("right", True, 0.0, False)
    assert term.shares_candidates
    assert not Watched(Mine()).shares_candidates
    assert torch.equal(evaluate(term, X).energy, first(X))
    assert Watched(Constraint("odd", lambda x: x[:, 0] % 2 == 1)).is_constraint
    assert describe(Watched(Right())) != describe(Watched(Mine()))


RIGHT = {
    "plain": first,
    "float32": lambda x: (x.float() * torch.tensor([0.1, 0.7])).sum(dim=1).sin() * 100,
    "rounding": lambda x: first(x) * (1 + 1e-6 * len(x)),
    "infinite": lambda x: first(x).masked_fill(x[:, 0] > 2, math.inf),
    "NaN": lambda x: first(x).masked_fill(x[:, 0] > 2, math.nan),
    "whole numbers": lambda x: x[:, 1],
    "huge": lambda x: first(x) * 1e18,
    "with a gradient": lambda x: first(x) * torch.ones(1, requires_grad=True),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_depends_on_the_state_alone_is_let_pass(name: str):
    energy = Watched(named("right", RIGHT[name]))
    for shift in range(12):
        x = X + 7 * shift
        assert torch.equal(energy(x).nan_to_num(), RIGHT[name](x).nan_to_num())


def test_a_write_into_the_argument_is_said_once():
    def writes(x: Tensor) -> Tensor:
        value = first(x)
        x.fill_(1)
        return value

    energy = Watched(named("mine", writes))
    with pytest.warns(UserWarning, match="energy 'mine' writes into its argument; it gets a copy"):
        evaluate(energy, X)
    evaluate(energy, X + 1)  # not said again


def test_a_slow_energy_is_called_few_times_more(monkeypatch: pytest.MonkeyPatch):
    rows: list[int] = []

    def slow(x: Tensor) -> Tensor:
        rows.append(len(x))
        time.sleep(0.01 * len(x))
        return first(x)

    monkeypatch.setattr(watched, "SECONDS", 0.1)
    energy = Watched(named("slow", slow))
    for shift in range(10):
        evaluate(energy, X + 4 * shift)
    assert 4 * 10 < sum(rows) <= 4 * 10 + 20


def test_no_draw_is_another():
    def wish(x: Tensor) -> Tensor:
        return 0.7 * x.double().sum(dim=1)

    x0 = torch.zeros(5, 3, dtype=torch.int64)
    plain = sample(Gibbs(3), named("wish", wish), x0, steps=40, progress=False)
    seen = sample(Gibbs(3), Watched(named("wish", wish)), x0, steps=40, progress=False)
    assert torch.equal(plain.draws, seen.draws)
    assert torch.equal(plain.energy, seen.energy)
