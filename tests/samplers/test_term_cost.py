"""What each term of an energy costs."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from samplers import Constraint, Watched, evaluate, measure_terms, named

X = torch.arange(6).reshape(6, 1)


def slow(x: Tensor) -> Tensor:
    time.sleep(0.01)
    return x[:, 0].double()


def test_states_and_seconds_of_each_term():
    energy = named("slow", slow) + Constraint("even", lambda x: x[:, 0] % 2 == 0)
    with measure_terms() as outer:
        evaluate(energy, X)
        with measure_terms() as inner:
            evaluate(energy, X)
    evaluate(energy, X)
    assert {name: cost.states for name, cost in inner.items()} == {"even": 6, "slow": 3}
    assert {name: cost.states for name, cost in outer.items()} == {"even": 12, "slow": 6}
    assert 0.01 <= inner["slow"].seconds < outer["slow"].seconds < 0.2
    assert inner["even"].seconds < 0.01


def test_a_term_inside_a_term_of_its_name_takes_no_time_of_its_own():
    rows: list[int] = []

    def counting(x: Tensor) -> Tensor:
        rows.append(len(x))
        return slow(x)

    with measure_terms() as costs:
        began = time.perf_counter()
        evaluate(Watched(named("slow", counting)), X)
        seconds = time.perf_counter() - began
    assert costs["slow"].states == sum(rows) > len(X)
    assert costs["slow"].seconds <= seconds


def test_a_term_that_raises_is_counted():
    with measure_terms() as costs, pytest.raises(Exception, match="raised ZeroDivisionError"):
        evaluate(named("broken", lambda x: 1 // 0), X)
    assert costs["broken"].states == 6
