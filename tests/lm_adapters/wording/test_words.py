"""Constraints on words against texts read by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lm_adapters import (
    ForbiddenWords,
    TextSpace,
    WordLimit,
    check_compatible,
)
from samplers import (
    InvalidInput,
    term_names,
)
from tests.lm_adapters import tiny

WORDS = TextSpace(tiny.word_level(["red", "green", "blue"]))
PIECES = TextSpace(tiny.wordpiece())
BYTES = TextSpace(tiny.byte_level())
INF = math.inf


def spelt(space: TextSpace, *tokens: str) -> Tensor:
    """The state of these very tokens, padded by two."""
    return torch.tensor([[*space.tokenizer.convert_tokens_to_ids(list(tokens)), space.pad_id, space.pad_id]])


@pytest.mark.parametrize("space", [PIECES, BYTES], ids=["word pieces", "bytes"])
@pytest.mark.parametrize(
    ("word", "text", "forbidden"),
    [
        ("house", "the old house", True),
        ("house", "house by the sea", True),
        ("house", "the house, it is", True),
        ("hous", "the old house", False),
        ("ouse", "the old house", False),
        ("use", "the house use", True),
        ("old house", "the old house", True),
        ("old house", "the house old", False),
        ("don't", "we don't know", True),
        ("do", "we don't know", False),
        (",", "the sea, here", True),
        ("e.g.", "the sea, e.g. here", True),
    ],
)
def test_whole_words_are_forbidden(space: TextSpace, word: str, text: str, forbidden: bool):
    assert ForbiddenWords(space, [word])(space.encode([text])).item() == (INF if forbidden else 0.0)


@pytest.mark.parametrize("text", ["dog's", "dog-like", "dogs", "hot-dog", "bull\u2019dog"])
def test_a_word_that_is_joined_to_more_is_another_word(text: str):
    forbidden = ForbiddenWords(BYTES, ["dog"])
    assert forbidden(BYTES.encode([f"the {text} is old", text])).tolist() == [0.0, 0.0]
    apart = text.replace("dog", " dog ").strip()
    assert (forbidden(BYTES.encode([f"the {apart} is old"])).item() == 0.0) == (apart == text)


def test_many_chains_and_many_words():
    x = WORDS.encode(["red blue", "green", "green green blue red", "blue"])
    assert ForbiddenWords(WORDS, ["red", "yellow", "blue"])(x).tolist() == [INF, 0.0, INF, INF]
    assert term_names(ForbiddenWords(WORDS, ["red"])) == ("forbidden words",)


@pytest.mark.parametrize(
    ("space", "tokens"),
    [(PIECES, ("h", "##o", "##u", "##s", "##e")), (BYTES, ("h", "o", "u", "s", "e"))],
    ids=["word pieces", "bytes"],
)
def test_no_other_tokenisation_slips_through(space: TextSpace, tokens: tuple[str, ...]):
    state = spelt(space, *tokens)
    assert not bool(space.is_canonical(state))
    assert ForbiddenWords(space, ["house"])(state).item() == INF


def test_case_counts_if_asked():
    x = BYTES.encode(["The house", "the house", "THE house"])
    assert ForbiddenWords(BYTES, ["the"])(x).tolist() == [INF, INF, INF]
    assert ForbiddenWords(BYTES, ["the"], ignore_case=False)(x).tolist() == [0.0, INF, 0.0]


@pytest.mark.parametrize("text", ["cafe\u0301", "caf\u00e9", "CAFE\u0301", "\uff43\uff41\uff46\u00e9"])
def test_one_character_in_any_encoding(text: str):
    assert ForbiddenWords(BYTES, ["caf\u00e9"])(BYTES.encode([text])).item() == INF


def test_one_apostrophe_is_as_good_as_another():
    assert ForbiddenWords(BYTES, ["don't"])(BYTES.encode(["don\u2019t"])).item() == INF


def test_a_word_is_looked_for_as_the_tokenizer_writes_it():
    """A tokenizer that drops accents can only write the word without."""
    x = PIECES.encode(["hélène"])
    assert PIECES.decode(x) == ["helene"]
    assert ForbiddenWords(PIECES, ["hélène"])(x).item() == INF


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], r"the forbidden words are \[\]; give a list"),
        ("red", "the forbidden words are 'red'; give a list"),
        (["red", ""], r"\['red', ''\] is empty"),
        ([" \t"], "is empty"),
    ],
)
def test_refused_words(words: list[str], problem: str):
    with pytest.raises(InvalidInput, match=problem):
        ForbiddenWords(WORDS, words)


@pytest.mark.parametrize(
    ("text", "count"),
    [("the sea", 2), ("it is, but", 3), ("it isn't here.", 3), ("well-known", 2), ("a.b,c", 3), (". , .", 0)],
)
def test_words_are_counted_in_the_text(text: str, count: int):
    x = BYTES.encode([text])
    assert WordLimit(BYTES, max(count, 1))(x).item() == 0.0
    assert count < 2 or WordLimit(BYTES, count - 1)(x).item() == INF


def test_word_limit_of_many_chains():
    energy = WordLimit(PIECES, 2)
    x = PIECES.encode(["the house", "the old house", "teacher", "it is, by, sea"])
    assert energy(x).tolist() == [0.0, INF, 0.0, INF]
    assert energy.is_constraint
    assert energy.name == "words"
    with pytest.raises(InvalidInput, match="max_words is 0; give at least 1"):
        WordLimit(PIECES, 0)


def test_compatible_constraints_pass():
    check_compatible(["old house", "sea"], 3, forbidden=["ous", "house old"], max_length=3, max_words=3)
    check_compatible(["a"], 1)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"forbidden": ["red", "sea"]}, "the keyword 'Sea' holds the forbidden word 'sea'; drop one of the two"),
        ({"forbidden": ["house"]}, "the keyword 'old house' holds the forbidden word 'house'; drop one of the two"),
        ({"max_length": 3}, "the keywords 'old house', 'Sea' take 4 tokens, a text has at most 3; allow more"),
        ({"max_words": 2}, "the keywords 'old house', 'Sea' are 3 words, a text has at most 2; allow more"),
    ],
)
def test_contradictions_name_both(limits: dict[str, Any], problem: str):
    with pytest.raises(InvalidInput) as caught:
        check_compatible(["old house", "Sea"], 4, **limits)
    assert str(caught.value) == problem


def test_a_keyword_in_another_case_is_no_contradiction_if_case_counts():
    check_compatible(["Sea"], 1, forbidden=["sea"], ignore_case=False)
