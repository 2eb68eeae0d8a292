"""How much texts repeat themselves: matrices worked out by hand, and the lines of a run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from experiments.judging import repetition as module
from experiments.judging.repetition import Repetition, in_words, repetition
from experiments.results.cost import Cost, Spent
from experiments.results.figures import repeats
from experiments.results.text_run import TextRun
from lm_adapters import TextSpace
from samplers import Flat, MetropolisHastings, Proposed, sample
from tests.lm_adapters import tiny


@pytest.fixture(autouse=True)
def _few_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FEWEST", 4)


def test_a_loop_that_all_chains_share_has_an_infinite_mass():
    found = repetition([["a b a b a b"], ["a b a b a b"]])
    assert found is not None
    # a is followed by b always; b by a in two of three, each time in both chains.
    assert found.lambda_1 == pytest.approx(math.sqrt(1 * (2 / 3) ** 2))
    assert found.mass == pytest.approx(2 * (4 / 9) / (1 - 4 / 9))
    assert found.share == pytest.approx(3 / 5)
    assert repetition([["a a a a"] * 50, ["a a a a"]]).lambda_1 == pytest.approx((3 / 4) ** 2)


def test_copies_within_a_chain_do_not_count():
    assert repetition([["a b a b"] * 100, ["c d e f"]]) == Repetition(0.0, 0.0, pytest.approx(100 / 303))


def test_weights_count_as_copies():
    groups = [["a a b", "b a c a"], ["a b a", "c c a a"]]
    copied = repetition([groups[0] + groups[0][:1], groups[1] + groups[1][1:] * 2])
    weighed = repetition(groups, [[2, 1], [1, 3]])
    assert weighed is not None
    assert weighed.lambda_1 == pytest.approx(copied.lambda_1)
    assert weighed.mass == pytest.approx(copied.mass)


def test_too_little_says_nothing():
    assert repetition([["a b"], ["a"]]) is None
    assert repetition([["a b c d e"]]) is None
    assert list(repeats({})) == []


def test_the_line_has_the_value_of_held_out_text():
    said = in_words(Repetition(0.5, 1.25, 0.1))
    assert said == "lambda_1, R of word pairs, pairs again: 0.500, 1.250, 10.0% (held-out English: 0.035, 0.036, 0.2%)"


@pytest.mark.parametrize(("texts", "share"), [(["red green red"] * 4, None), (["red green red"] * 3 + ["red"], 0.75)])
def test_a_run_says_how_many_of_its_texts_are_as_long_as_they_may_be(texts: list[str], share: float | None):
    space = TextSpace(tiny.word_level(["red", "green"]))
    still = MetropolisHastings(Standing())
    trace = sample(still, Flat(), space.encode(texts), steps=8, progress=False)
    run = TextRun({"steps": 8, "temperature": 1.0}, "flat", space, trace, Spent(1.0, Cost(1, 1, 1)))
    summary = run.summary()
    facts = dict(run.facts(summary))
    assert summary.get("at_length_cap") == share
    assert ("longest texts" in facts) == (share is not None)
    assert summary["repetition"]["share"] == 0
    assert "held-out English" in facts["repetition"]


class Standing:
    """Proposes the state itself."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        return Proposed(x, *(torch.zeros(len(x), dtype=torch.float64) for _ in range(2)))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return torch.zeros(len(x_to), dtype=torch.float64)
