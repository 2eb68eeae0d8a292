"""Errors of energies show the state that did it, and point at the user's own line."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from samplers import CallCounter, Constraint, EnergyError, EnergyTerm, Flat, evaluate, named
from samplers.energy.evaluation import evaluate_candidates
from samplers.energy.source_location import defined_at, raised_at

X = torch.tensor([[1, 10], [2, 20], [3, 30]])
USER_FILE = """import torch

def picky(x):
    return torch.stack([helper(row) for row in x])

def helper(row):
    return torch.zeros(2).reshape(3) if row[0] == 2 else row[0].double()

def crowd(x):
    return 1 // (len(x) == 1) * x[:, 0]

def narrow(x):
    return torch.zeros(len(x), 1)

class Callable:
    def __call__(self, x):
        return picky(x)

    def method(self, x):
        return picky(x)
"""
RAISES = "    return torch.zeros(2).reshape(3) if row[0] == 2 else row[0].double()"


@pytest.fixture
def user(tmp_path: Path) -> ModuleType:
    path = tmp_path / "my_energy.py"
    path.write_text(USER_FILE)
    spec = importlib.util.spec_from_file_location("my_energy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failure(energy: object, x: torch.Tensor = X) -> EnergyError:
    with pytest.raises(EnergyError) as caught:
        evaluate(energy, x)
    return caught.value


def at(user: ModuleType, line: str) -> str:
    """``[file:line: source]``, as messages end."""
    return f"[{user.__file__}:{USER_FILE.splitlines().index(line) + 1}: {line.strip()}]"


WAYS = {
    "function": lambda user: user.picky,
    "method": lambda user: user.Callable().method,
    "callable": lambda user: user.Callable(),
    "partial": lambda user: partial(user.picky),
    "named": lambda user: named("mine", user.picky),
    "counted": lambda user: CallCounter(named("mine", user.picky)),
    "in a sum": lambda user: Flat() + 2.0 * named("mine", user.picky),
    "constraint": lambda user: Constraint("mine", lambda x: user.picky(x) > 0),
    "behind a constraint": lambda user: named("mine", user.picky) + Constraint("not one", lambda x: x[:, 0] != 1),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "constraint"])
def test_what_raises_is_told_with_the_state_and_the_line(user: ModuleType, way: str):
    error = failure(WAYS[way](user))
    assert str(error).endswith(at(user, RAISES))
    assert (error.rows, error.x.tolist()) == ([1], [[2, 20]])
    assert isinstance(error.__cause__, RuntimeError)
    assert str(error).count("\n") == 0


def test_a_function_in_another_file_is_no_line_of_the_users(user: ModuleType):
    """The lambda is what was given: its line is shown, not that of what it calls."""
    error = failure(WAYS["constraint"](user))
    assert f"[{__file__}:" in str(error)
    assert error.rows == [1]


def test_where_no_state_does_it_alone_all_are_told(user: ModuleType):
    error = failure(user.crowd)
    assert (error.rows, error.x.tolist()) == ([], X.tolist())
    assert str(error).endswith(at(user, "    return 1 // (len(x) == 1) * x[:, 0]"))


def test_one_state_alone_is_the_one_that_did_it(user: ModuleType):
    assert failure(user.picky, X[1:2]).rows == [0]


def test_hints_go_with_the_states_that_are_tried_alone():
    class Hinted(EnergyTerm):
        name = "mine"

        def values(self, x, hint=None):
            assert 200 not in hint.tolist()
            return x[:, 0]

    with pytest.raises(EnergyError) as caught:
        evaluate(Hinted(), X, torch.tensor([100, 200, 300]))
    assert caught.value.rows == [1]


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: named("mine", f) + Flat(), lambda f: partial(f)])
def test_what_returns_the_wrong_thing_is_told_with_the_function(user: ModuleType, wrap):
    error = failure(wrap(user.narrow))
    assert "returned shape [3, 1] for 3 states" in str(error)
    assert str(error).endswith(at(user, "def narrow(x):"))


def test_candidates_point_at_the_line_and_name_the_chain(user: ModuleType):
    values = torch.tensor([[4, 5], [2, 6]])
    with pytest.raises(EnergyError) as caught:
        evaluate_candidates(named("mine", user.picky), X[[0, 2]], torch.tensor([0, 0]), values, max_rows=10)
    assert (caught.value.rows, caught.value.x.tolist()) == ([1], [[2, 30]])
    assert str(caught.value).endswith(at(user, RAISES))


def test_candidates_of_a_term_that_shares_work_are_tried_alone_as_plain_states(user: ModuleType):
    class Shared(EnergyTerm):
        name = "mine"

        def values(self, x, hint=None):
            return user.picky(x)

        def candidate_values(self, x, site, values):
            raise ValueError("in the shared path")

    values = torch.tensor([[4, 5], [2, 6]])
    with pytest.raises(EnergyError, match="RuntimeError: shape") as caught:
        evaluate_candidates(Shared(), X[[0, 2]], torch.tensor([0, 0]), values, max_rows=10)
    assert caught.value.rows == [1]
    with pytest.raises(EnergyError, match="ValueError: in the shared path") as caught:
        evaluate_candidates(Shared(), X[[0, 2]], torch.tensor([0, 0]), values[:1].expand(2, 2), max_rows=10)
    assert caught.value.rows == []  # no state does it alone


def test_what_is_not_written_in_python_has_no_line():
    assert defined_at(torch.sum) is None
    assert defined_at(partial(torch.sum)) is None
    assert raised_at(ValueError("never raised"), torch.sum) is None
    error = failure(named("mine", torch.sum))
    assert error.where is None
    assert "returned shape []" in str(error)
