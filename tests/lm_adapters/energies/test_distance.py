"""Distances from a source against hand-worked values, and the batched programme against the plain recursion."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lm_adapters import TextSpace
from lm_adapters.energies.distance import EditDistance, SourceBleu
from samplers import EnergyTerm, Flat, InvalidInput, evaluate, term_names
from tests.lm_adapters import tiny

WORDS = ["a", "b", "c", "d", "e", "f"]
SPACE = TextSpace(tiny.word_level(WORDS))
FIRST = SPACE.encode(["a"]).item()


def nats(bleu: float) -> float:
    return -math.log(1.01 - bleu)


@pytest.mark.parametrize(
    ("text", "bleu"),
    [
        ("a b c d e", 1.0),
        ("f f", 0.0),
        # precisions 3/4, 2/3, 1/2; no 4-gram matches: 1/2 is put for the count; brevity 5 words for 4
        ("a b c f", math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)),
        # two words have no 3-grams: the mean is over two orders
        ("a b", math.exp(1 - 5 / 2)),
        ("a", math.exp(1 - 5 / 1)),
        # a longer text: precisions 5/6, 4/5, 3/4, 2/3, no brevity penalty
        ("a b c d e f", (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4)),
    ],
)
def test_source_bleu_by_hand(text: str, bleu: float):
    assert SourceBleu(SPACE, "a b c d e")(SPACE.encode([text])).item() == pytest.approx(nats(bleu), abs=1e-9)


def test_source_bleu_of_many_chains():
    energy = SourceBleu(SPACE, "a b c d e")
    x = SPACE.encode(["a b c d e", "f", "a b", "a b c d e"], width=9)
    values = energy(x)
    assert values.dtype == torch.float64
    assert values.tolist() == pytest.approx([nats(1), nats(0), nats(math.exp(-1.5)), nats(1)], abs=1e-9)
    assert values[0].item() == pytest.approx(4.605, abs=1e-3)
    assert values[1].item() == pytest.approx(-0.00995, abs=1e-5)
    assert [energy(row.unsqueeze(0)).item() for row in x] == values.tolist()


def test_the_source_as_the_tokenizer_writes_it_is_a_copy():
    """Lower-cased and without accents, so not the string that was given."""
    space = TextSpace(tiny.wordpiece())
    energy = SourceBleu(space, "I don't know what Hélène is, but it isn't here.")
    assert energy(space.encode(["I don't know what Hélène is, but it isn't here."])).item() == pytest.approx(nats(1))


def test_case_counts_where_the_tokenizer_keeps_it():
    space = TextSpace(tiny.byte_level())
    x = space.encode(["the old house", "The old house"])
    copied, other = SourceBleu(space, "The old house")(x).flip(0).tolist()
    assert copied == pytest.approx(nats(1))
    assert other < copied - 1


def test_the_source_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    energy = SourceBleu(SPACE, "a b c d e")

    def never(*_: object) -> None:
        raise AssertionError("the source is counted again")

    monkeypatch.setattr(type(energy.bleu), "_extract_reference_info", never)
    assert len(energy(SPACE.encode(["a b", "c"]))) == 2
    with pytest.raises(AssertionError, match="counted again"):
        SourceBleu(SPACE, "a b")


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        ("a b c d", 0),
        ("a b d", 1),  # one deleted
        ("a b c c d", 1),  # one inserted
        ("a b e d", 1),  # one replaced
        ("b c d a", 2),  # moved: deleted here, inserted there
        ("d c b a", 4),
        ("f", 4),
        ("a", 3),
        ("f f f f f f", 6),
    ],
)
def test_edit_distance_by_hand(text: str, edits: int):
    assert EditDistance(SPACE, "a b c d")(SPACE.encode([text])).tolist() == [edits]


def test_edit_distance_of_many_chains():
    x = SPACE.encode(["a b c d", "b", "a b c d e f a", "a c"], width=9)
    energy = EditDistance(SPACE, "a b c d")
    values = energy(x)
    assert values.dtype == torch.float64
    assert values.tolist() == [0.0, 3.0, 3.0, 2.0]
    assert energy(torch.full((1, 4), SPACE.pad_id)).tolist() == [4.0]  # the empty text


def test_a_weight_penalises_distance_and_its_negative_rewards_it():
    x = SPACE.encode(["a b c d", "a f f d"])
    assert (1.5 * EditDistance(SPACE, "a b c d"))(x).tolist() == [0.0, 3.0]
    assert (-1.5 * EditDistance(SPACE, "a b c d"))(x).tolist() == [0.0, -3.0]


def levenshtein(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        replaced = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(replaced, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(first), len(second))


def state(rows: list[list[int]], width: int) -> Tensor:
    return torch.tensor([[FIRST + word for word in row] + [SPACE.pad_id] * (width - len(row)) for row in rows])


def texts(shortest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2), min_size=shortest, max_size=7)


@given(source=texts(1), rows=st.lists(texts(0), min_size=1, max_size=6), spare=st.integers(0, 3))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_edit_distance_is_the_plain_recursion(source: list[int], rows: list[list[int]], spare: int):
    energy = EditDistance(SPACE, " ".join(WORDS[word] for word in source))
    expected = [levenshtein(tuple(source), tuple(row)) for row in rows]
    assert energy(state(rows, 7 + spare)).tolist() == expected


@pytest.mark.parametrize("term", [SourceBleu, EditDistance])
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "has no tokens"),
        (" ", "has no tokens"),
        ("a [MASK]", r"special token '\[MASK\]'"),
        ("z", "cannot represent"),
    ],
)
def test_refused_sources(term: type[EnergyTerm], source: str, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        term(SPACE, source)


def test_names_in_a_sum():
    energy = Flat() + 2.0 * SourceBleu(SPACE, "a b") + EditDistance(SPACE, "a b")
    assert term_names(energy) == ("flat", "source bleu", "edit distance")
    assert evaluate(energy, SPACE.encode(["a b"])).terms.tolist() == [[0.0, pytest.approx(2 * nats(1)), 0.0]]
