"""Repeated runs of words, counted by hand."""

from __future__ import annotations

import pytest

from lm_adapters import RepeatedNgrams, TextSpace, repeated_ngrams
from samplers import InvalidInput, evaluate
from tests.lm_adapters import tiny

SPACE = TextSpace(tiny.word_level(["red", "green", "blue"]))


@pytest.mark.parametrize(
    ("text", "n", "again", "runs"),
    [
        ("the cat and the cat", 2, 1, 4),
        ("The cat, and the CAT.", 2, 1, 4),
        ("no no no no", 2, 2, 3),
        ("no no no no", 3, 1, 2),
        ("no no no no", 1, 3, 4),
        ("one", 2, 0, 0),
        ("", 2, 0, 0),
        ("don't say don't say", 2, 1, 3),
    ],
)
def test_counts(text: str, n: int, again: int, runs: int):
    assert repeated_ngrams(text, n) == (again, runs)


def test_the_energy_is_a_nat_for_each():
    x = SPACE.encode(["red green red green", "red green blue", "red red red red"])
    energy = RepeatedNgrams(SPACE)
    assert energy(x).tolist() == [1.0, 0.0, 2.0]
    assert evaluate(1.5 * energy, x).energy.tolist() == [1.5, 0.0, 3.0]
    assert energy.lower_bound == 0
    with pytest.raises(InvalidInput, match="n is 0"):
        RepeatedNgrams(SPACE, 0)
