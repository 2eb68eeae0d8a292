"""A hundred locked pieces: found as by hand, in a search whose cost does not grow with their number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lm_adapters import TextSpace
from lm_adapters.locks.base import Lock
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from tests.lm_adapters.locks.test_locks import any_order_by_hand, ordered_by_hand
from tests.lm_adapters.tiny import word_level

MANY, WIDTH = 100, 200
WORDS = [f"w{number}" for number in range(MANY)]


@cache
def many() -> TextSpace:
    return TextSpace(word_level(WORDS))


def texts_with(given: Sequence[str], rolls: random.Random, count: int) -> list[list[str]]:
    """Texts that hold the keywords with others between them; then some where words are lost, moved or repeated."""
    texts = []
    for number in range(count):
        text: list[str] = []
        for keyword in given:
            text += [*rolls.choices(WORDS, k=rolls.choice((0, 0, 0, 1))), *keyword.split()]
        for _ in range(number % 4):
            at = rolls.randrange(len(text))
            word = text.pop(at)
            if rolls.random() < 0.7:
                text.insert(rolls.randrange(len(text)), word)
        texts.append(text[:WIDTH])
    return texts


def held_by_hand(lock: Keywords, texts: Sequence[list[str]]) -> Tensor:
    by_hand = any_order_by_hand if lock.any_order else ordered_by_hand
    keywords = [word.split() for word in lock.words]
    return torch.tensor([by_hand([*text, *[""] * (WIDTH - len(text))], keywords) for text in texts])


def encoded(texts: Sequence[list[str]]) -> Tensor:
    return many().encode([" ".join(text) for text in texts], WIDTH)


@pytest.mark.parametrize("any_order", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        WORDS,
        [WORDS[0]] * MANY,
        [word for word in WORDS[:4] for _ in range(25)],
        [f"{a} {b}" for a, b in pairwise(WORDS[:51])],  # neighbours share a word
        [*WORDS[:40], "w0 w1", "w1 w2 w3", *WORDS[:20], "w7 w7"],
    ],
    ids=["all different", "one word", "runs", "overlapping", "of several tokens"],
)
def test_many_keywords_are_found_as_by_hand(given: list[str], any_order: bool):
    lock, texts = Keywords(many(), given, any_order), texts_with(given, random.Random(len(given)), 20)
    expected = held_by_hand(lock, texts)
    assert torch.equal(lock.pieces(encoded(texts)), expected)
    assert bool((expected > 0).any())


def slots_by_hand(text: Sequence[str], words: Sequence[str], gaps: Sequence[tuple[int, int]]) -> list[int] | None:
    """Where ``words`` stand: the shortest slots, leftmost first, of which the rest of the text still fits."""

    @cache
    def fits(number: int, at: int) -> bool:
        fewest, most = gaps[number]
        if number == len(words):
            return fewest <= len(text) - at <= most
        return any(text[p] == words[number] and fits(number + 1, p + 1) for p in window(number, at))

    def window(number: int, at: int) -> range:
        return range(at + gaps[number][0], min(at + gaps[number][1] + 1, len(text)))

    places, at = [], 0
    for number in range(len(words)):
        good = [p for p in window(number, at) if text[p] == words[number] and fits(number + 1, p + 1)]
        if not good:
            return None
        places.append(good[0])
        at = good[0] + 1
    return places if fits(len(words), at) else None


@pytest.mark.parametrize("kinds", [2, 5, 60])
def test_a_template_of_many_slots_is_found_as_by_hand(kinds: int):
    rolls, words = random.Random(kinds), [WORDS[number % kinds] for number in range(60)]
    gaps = [rolls.choice([(1, 1), (1, 3), (2, 2)]) for _ in words]
    lock = Template(
        many(), " ".join(f"[MASK:{low}-{high}] {word}" for (low, high), word in zip(gaps, words, strict=True))
    )
    texts = []
    for number in range(12):
        text = []
        for (low, high), word in zip(gaps, words, strict=True):
            text += [*rolls.choices(WORDS[:kinds], k=rolls.randint(low, high)), word]
        if number % 4 == 3:
            text[rolls.randrange(len(text))] = WORDS[-1]
        texts.append(text[:WIDTH])
    x, expected = encoded(texts), torch.zeros(len(texts), WIDTH, dtype=torch.int64)
    found = [slots_by_hand(text, words, [*gaps, (0, 0)]) for text in texts]
    for row, places in enumerate(found):
        for number, place in enumerate(places or [], 1):
            expected[row, place] = number
    assert torch.equal(lock.pieces(x), expected)
    assert lock.found(x).tolist() == [places is not None for places in found]
    assert bool(lock.found(x).any())


class Operators(TorchDispatchMode):
    """Counts them."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += 1
        return function(*arguments, **(named or {}))


def operators(lock: Lock, x: Tensor) -> int:
    lock.pieces(x)
    with Operators() as counted:
        lock.pieces(x)
    return counted.count


@pytest.mark.parametrize("any_order", [False, True])
def test_the_cost_of_a_search_does_not_grow_with_the_words(any_order: bool):
    x = encoded([WORDS])
    few, hundred = (operators(Keywords(many(), WORDS[:count], any_order), x) for count in (3, MANY))
    assert hundred <= few
