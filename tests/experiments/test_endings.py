"""Texts that end as a sentence does, and texts that are not a given one."""

from __future__ import annotations

import math

import pytest

from experiments.laws.another import other_than, without_a_word
from experiments.laws.ending import ends_as_sentence


@pytest.mark.parametrize(
    ("source", "text", "whole"),
    [
        ("Tom is here.", "Tom is here.", True),
        ("Tom is here.", "Tom is here", False),
        ("Tom is here.", "Tom is here?", False),
        ("Tom is here.", "Tom is here, and.", False),
        ("Tom is here.", "Tom is the.", False),
        ("Tom is here.", "Tom is here,.", False),
        ("Tom is here.", ".", False),
        ("Tom is here", "Tom is here", True),
        ("Tom is here", "Tom is the", False),
        ("Is Tom here?", "Is Tom here?", True),
    ],
)
def test_a_text_ends_as_a_sentence(embedded, source, text, whole):
    term = ends_as_sentence(embedded.space, source)
    assert float(term(embedded.space.encode([text]))) == (0 if whole else math.inf)


@pytest.mark.parametrize(
    ("text", "other"),
    [("Tom is here.", False), ("tom is here!", False), ("Tom is there.", True), ("Is Tom here?", True)],
)
def test_case_and_marks_make_no_other_text(embedded, text, other):
    term = other_than(embedded.space, "Tom is here.")
    assert float(term(embedded.space.encode([text]))) == (0 if other else math.inf)


def test_starts_that_are_the_text_lose_a_word_each(embedded):
    space = embedded.space
    x = space.encode(["Tom is here now.", "We like it.", "tom is here, now"])
    started = without_a_word(space, "Tom is here now.", x)
    assert space.decode(started) == ["is here now.", "We like it.", "Tom is now."]
    assert without_a_word(space, "Tom", space.encode(["Tom"])).tolist() == space.encode(["Tom"]).tolist()
