"""Classes of models beside plain transformers: one of each outcome, and in the slow tier all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.model_classes.forked import forked
from tests.model_classes.table import PAGE, counts, page
from tests.model_classes.trial import try_class

FOUND = json.loads((Path(__file__).parent / "outcomes.json").read_text())
NATS = 1e-4
ONE_OF_EACH = {
    "masked bert": "usual",
    "masked fnet": "rows of one length",
    "causal opt": "whole head",
    "causal bloom": "prefixes of one length",
    "causal rwkv": "prefixes read anew",
    "causal xlnet": "refused",
}


def check(which: str, outcome: dict) -> None:
    assert outcome["outcome"] == FOUND[which]["outcome"], outcome
    assert max(outcome.get("score", 0.0), outcome.get("kept", 0.0)) < NATS


@pytest.mark.parametrize("which", ONE_OF_EACH)
def test_one_class_of_each_outcome(which: str, tmp_path: Path):
    assert FOUND[which]["outcome"] == ONE_OF_EACH[which]
    check(which, try_class(*which.split(), tmp_path / "model"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", FOUND)
def test_every_class(which: str):
    check(which, forked(lambda folder: try_class(*which.split(), folder / "model"), seconds=300))


def test_the_page_is_that_of_the_outcomes():
    assert PAGE.read_text() == page(FOUND)


def test_nearly_every_class_was_built_and_agrees():
    number = counts(FOUND)
    assert number["not built"] < 0.1 * len(FOUND)
    assert number["died"] == 0
    assert all(max(each.get("score", 0.0), each.get("kept", 0.0)) < NATS for each in FOUND.values())


def test_a_process_that_ends_is_an_outcome():
    assert forked(lambda folder: {"n": len(list(folder.iterdir()))}, seconds=60) == {"n": 0}
    assert forked(lambda _: [0][1], seconds=60) == {"outcome": "died", "why": "IndexError: list index out of range"}
    assert "ended with" in forked(lambda _: __import__("os").abort(), seconds=60)["why"]
