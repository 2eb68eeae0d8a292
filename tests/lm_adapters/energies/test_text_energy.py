from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from lm_adapters import GibbsProposal, TextEnergy, TextSpace
from samplers import Constraint, EnergyError, Flat, MetropolisHastings, evaluate, sample, term_names
from samplers.energy.evaluation import rejecting_nan
from samplers.energy.nan_policy import NaNCount
from tests.lm_adapters.tiny import word_level, words_lm

SPACE = TextSpace(word_level(["red", "green", "blue"]))
TEXTS = ["red", "green blue", "blue"]
X = SPACE.encode(TEXTS)
USER_FILE = """import json

def broken(texts):
    return [helper(text) for text in texts]

def helper(text):
    return json.loads("{" if "green" in text else "1")

class Callable:
    def __call__(self, texts):
        return broken(texts)

    def method(self, texts):
        return broken(texts)
"""


@pytest.fixture
def user(tmp_path: Path) -> ModuleType:
    path = tmp_path / "my_energy.py"
    path.write_text(USER_FILE)
    spec = importlib.util.spec_from_file_location("my_energy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failure(function: Callable, x: Tensor = X) -> EnergyError:
    with pytest.raises(EnergyError) as caught:
        evaluate(TextEnergy(function, SPACE.decode), x)
    return caught.value


def test_one_number_a_text():
    seen = []
    values = TextEnergy(lambda texts: seen.append(texts) or [len(text) for text in texts], SPACE.decode)(X)
    assert seen == [TEXTS]
    assert values.dtype == torch.float64
    assert values.tolist() == [3.0, 10.0, 4.0]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, math.inf],
        (1, 2.5, math.inf),
        np.array([1, 2.5, np.inf]),
        [np.float32(1), np.float64(2.5), math.inf],
        [np.int64(1), Fraction(5, 2), math.inf],
        [True, 2.5, math.inf],
        torch.tensor([1, 2.5, math.inf]),
        torch.tensor([1, 2.5, math.inf], requires_grad=True),
        [torch.tensor(1), torch.tensor(2.5, requires_grad=True), np.array(math.inf)],
        [np.bool_(True), Decimal("2.5"), Decimal("Infinity")],
        {"a": 1, "b": 2.5, "c": math.inf}.values(),
    ],
    ids=[
        "list",
        "tuple",
        "array",
        "numpy floats",
        "other reals",
        "bool",
        "tensor",
        "tensor with grad",
        "scalars of tensors",
        "decimals",
        "view",
    ],
)
def test_accepted_answers(values: object):
    energy = evaluate(TextEnergy(lambda texts: values, SPACE.decode), X).energy
    assert energy.tolist() == [1.0, 2.5, math.inf]
    assert not energy.requires_grad


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (None, "returned None, not a list of numbers"),
        ("abc", "returned str, not a list of numbers"),
        (1.0, "returned float, not a list of numbers"),
        (np.array(1.0), "not a list of numbers"),
        (torch.tensor(1.0), "returned float, not a list of numbers"),
        ([1.0], "returned 1 values for 3 texts"),
        ([1.0] * 4, "returned 4 values for 3 texts"),
        (["1", "2", "3"], r"returned '1' \(str\), not a number of nats"),
        ([1.0, None, 2.0], r"returned None \(NoneType\), not a number of nats"),
        ([[1.0], [2.0], [3.0]], r"returned \[1.0\] \(list\), not a number of nats"),
        (
            torch.ones(3, 1),
            r"returned shape \[3, 1\] for 3 texts, not \[3\].*; an energy gets a list of texts and returns",
        ),
        ([np.ones(1)] * 3, r"returned array\(\[1.\]\) \(ndarray\), not a number of nats"),
        ({"red": 1.0, "green blue": 2.0, "blue": 3.0}, "returned dict, not a list of numbers"),
        ({1.0, 2.0, 3.0}, "returned set, not a list of numbers"),
        (b"abc", "returned bytes, not a list of numbers"),
        ((value for value in [1.0, 2.0, 3.0]), "returned generator, not a list of numbers"),
        ([10**400, 1, 1], "returned int too large for a float"),
        ([1j, 1.0, 1.0], "not a number of nats"),
        ([1.0, math.nan, 1.0], "is NaN"),
        ([1.0, -math.inf, 1.0], "is -inf, so its law cannot be normalised"),
    ],
)
def test_refused_answers(values: object, problem: str):
    with pytest.raises(EnergyError, match=problem):
        evaluate(TextEnergy(lambda texts: values, SPACE.decode, "mine"), X)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, "seven", None])
def test_the_text_that_did_it_is_named(bad: object):
    error = failure(lambda texts: [bad if "green" in text else 1.0 for text in texts])
    assert error.texts == ["green blue"]
    assert error.rows == [1]
    assert torch.equal(error.x, X[1:2])
    assert "(chain 1): 'green blue'" in str(error)


def test_all_texts_are_named_where_none_does_it_alone():
    error = failure(lambda texts: [1.0] if len(texts) > 1 else [2.0])
    assert error.texts == TEXTS
    assert "returned 1 values for 3 texts" in str(error)


@pytest.mark.parametrize("how", ["function", "method", "callable", "partial"])
def test_an_exception_names_the_text_and_the_line(user: ModuleType, how: str):
    made = user.Callable()
    functions = {"function": user.broken, "method": made.method, "callable": made, "partial": partial(user.broken)}
    error = failure(functions[how])
    assert error.texts == ["green blue"]
    line = USER_FILE.splitlines().index('    return json.loads("{" if "green" in text else "1")') + 1
    assert f"{user.__file__}:{line}: return json.loads(" in str(error)
    assert "raised JSONDecodeError" in str(error)
    assert "'green blue'" in str(error)
    assert type(error.__cause__).__name__ == "JSONDecodeError"
    assert "\n" not in str(error)


def test_rows_behind_a_constraint_keep_their_numbers():
    long = Constraint("long", lambda x: SPACE.lengths(x) > 1)
    energy = long + TextEnergy(lambda texts: [math.nan for _ in texts], SPACE.decode, "mine")
    with pytest.raises(EnergyError, match=r"'mine' is NaN.*\(chain 1\): 'green blue'"):
        evaluate(energy, X)


def test_sample_names_step_chain_and_text():
    lm = words_lm(["red", "green", "blue"])

    def picky(texts: list[str]) -> list[float]:
        return [math.nan if "green" in text else 0.0 for text in texts]

    x = lm.space.encode(["red blue red"] * 3)
    with pytest.raises(EnergyError, match=r"energy 'picky' is NaN at step \d+ \(chain \d\): '.*green.*'"):
        sample(MetropolisHastings(GibbsProposal(lm)), TextEnergy(picky, lm.space.decode), x, steps=200, progress=False)
    x = lm.space.encode(["red blue", "green red"])
    with pytest.raises(EnergyError, match=r"at the start \(chain 1\): 'green red'"):
        sample(MetropolisHastings(GibbsProposal(lm)), TextEnergy(picky, lm.space.decode), x, steps=1, progress=False)


def test_infinity_forbids():
    lm = words_lm(["red", "green", "blue"])
    energy = Flat() + TextEnergy(
        lambda texts: [math.inf if "green" in t else 0.0 for t in texts], lm.space.decode, "no green"
    )
    trace = sample(
        MetropolisHastings(GibbsProposal(lm)), energy, lm.space.encode(["red red"] * 20), steps=20, progress=False
    )
    texts = {text for x in trace.draws.unbind(1) for text in lm.space.decode(x)}
    assert "blue blue" in texts
    assert not any("green" in text for text in texts)


def test_names():
    def politeness(texts: list[str]) -> list[float]:
        return [0.0] * len(texts)

    assert term_names(TextEnergy(politeness, SPACE.decode)) == ("politeness",)
    assert term_names(TextEnergy(politeness, SPACE.decode, "kind")) == ("kind",)
    assert term_names(TextEnergy(partial(politeness), SPACE.decode)) == ("partial",)
    assert term_names(2.0 * TextEnergy(politeness, SPACE.decode) + Flat()) == ("politeness", "flat")


def test_the_function_cannot_change_what_it_is_given():
    def greedy(texts: list[str]) -> list[float]:
        values = [float(len(text)) for text in texts]
        texts.clear()
        return values

    energy = TextEnergy(greedy, SPACE.decode)
    with pytest.warns(UserWarning, match="energy 'greedy' writes into the list of texts that it gets"):
        assert energy(X).tolist() == [3.0, 10.0, 4.0]
    assert energy(X).tolist() == [3.0, 10.0, 4.0]  # said once


@pytest.mark.parametrize(
    "function",
    [
        lambda text: [len(text.split())],
        lambda text: [float(text)],
        lambda text: [{"red": 1.0}[text]],
        lambda texts, target: [1.0],
        lambda: [1.0],
        lambda text: len(text),
    ],
)
def test_a_function_of_something_else_is_said_what_it_gets(function: Callable):
    assert "; an energy gets a list of texts and returns one number for each" in str(failure(function))


@pytest.mark.parametrize("function", [lambda texts: [1 / 0], lambda texts: [None + 1 for text in texts]])
def test_other_errors_do_without(function: Callable):
    assert "an energy gets" not in str(failure(function))


def test_the_line_of_a_function_that_cannot_be_called_is_its_own():
    def two(texts: list[str], target: str) -> list[float]:
        raise NotImplementedError

    line = two.__code__.co_firstlineno
    assert f"[{__file__}:{line}: def two(texts: list[str], target: str) -> list[float]:]" in str(failure(two))
    assert failure(cache(two)).where.startswith(f"{__file__}:{line}: def two(")


def green_is_nan(texts: list[str]) -> list[float]:
    return [math.nan if "green" in text else float(len(text)) for text in texts]


def test_all_texts_that_are_nan_are_told_as_such():
    x = SPACE.encode(["green", "red", "blue green"])
    error = failure(green_is_nan, x)
    assert (error.rows, error.texts, error.nan) == ([0, 2], ["green", "blue green"], True)
    assert torch.equal(error.x, x[[0, 2]])
    assert str(error).endswith(
        f"{green_is_nan.__code__.co_firstlineno}: def green_is_nan(texts: list[str]) -> list[float]:]"
    )


@pytest.mark.parametrize(
    "values", [[math.nan, -math.inf, 1.0], [math.nan, None, 1.0], [math.nan], ["1", "2", "3"]], ids=str
)
def test_other_faults_are_not_told_as_nan(values: list):
    assert not failure(lambda texts: values).nan


@pytest.mark.parametrize("weight", [1.0, 0.0, -2.0])
def test_texts_that_are_nan_may_be_rejected(weight: float):
    counts = NaNCount()
    energy = weight * TextEnergy(green_is_nan, SPACE.decode) + Constraint("long", lambda x: SPACE.lengths(x) < 3)
    x = SPACE.encode(["green", "red", "red red red", "green blue", "blue"])
    assert evaluate(rejecting_nan(energy, counts), x).energy.tolist() == [
        math.inf,
        3 * weight,
        math.inf,
        math.inf,
        4 * weight,
    ]
    assert counts == NaNCount(rows=4, nan=2)


def test_other_faults_of_texts_are_errors_also_where_nan_is_rejected():
    energy = TextEnergy(lambda texts: [math.nan if text == "red" else -math.inf for text in texts], SPACE.decode)
    with pytest.raises(EnergyError, match=r"is -inf.* \(chain 1, 2\): 'green blue', 'blue'"):
        evaluate(rejecting_nan(energy, NaNCount()), X)
