"""A word n-gram model with modified Kneser-Ney smoothing: a judge that shares nothing with the neural models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KneserNey", "split_words"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+(?:['\u2019][^\W{HAN}]+)*|[^\w\s]")
START, END, UNKNOWN, FIRST = range(4)  # ids; the words of the corpus have those from FIRST on
NONE = -1  # the node of an n-gram that was not counted


def split_words(text: str) -> list[str]:
    """Words, with the apostrophes inside them, Chinese characters, and marks of punctuation."""
    return WORD.findall(text)


@dataclass(frozen=True)
class Level:
    """The n-grams of one length. Their nodes are the places of their keys; ``key = node of the context, word``.

    ``kept[node]`` is the discounted relative frequency of an n-gram after its context, ``rest[context]`` what the
    discounts leave for the shorter context.
    """

    keys: Ints
    kept: Floats
    rest: Floats

    def find(self, keys: Ints) -> Ints:
        """The node of each key, or ``NONE``."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, NONE)


class KneserNey:
    """The n-grams of ``texts``, up to ``order`` words, as a model of texts of the same kind.

    Interpolated, with three discounts for each length: Chen and Goodman (1999), section 3. A word that ``texts`` lack
    has the probability of one word that was never seen.
    """

    def __init__(self, texts: Sequence[str], order: int = 4) -> None:
        rows = [split_words(text) for text in texts]
        words_found = sorted({word for row in rows for word in row})
        self._ids = {word: i for i, word in enumerate(words_found, start=FIRST)}
        self._size = FIRST + len(self._ids)
        words, place = self._flat(rows)
        self._levels: list[Level] = []
        counted: list[tuple[Ints, Ints, Ints]] = []  # for each length: keys, a place where each stands, node by place
        node = np.zeros_like(words)
        for length in range(1, order + 1):
            keys = self._keys(words, place, node, length)
            keys, where, node = np.unique(keys, return_index=True, return_inverse=True)
            missing = int(keys[0] == NONE)
            node = node - missing
            counted.append((keys[missing:], where[missing:], node))
        for length in range(1, order + 1):
            self._levels.append(_level(words, counted, length))

    def nats(self, texts: Sequence[str]) -> tuple[Floats, Ints]:
        """For each text ``-log p`` in nats, its end included, and the number of words, marks and ends summed over."""
        words, place = self._flat([split_words(text) for text in texts])
        probability = np.full(len(words), 1 / (self._size - 1))  # of all but the start, which is never predicted
        node = np.zeros_like(words)
        for length, level in enumerate(self._levels, start=1):
            context = _before(node) if length > 1 else node
            keys = self._keys(words, place, node, length)
            node = level.find(keys)
            seen = np.where(node == NONE, 0.0, level.kept[node])
            # After a context that was not counted the shorter one decides alone.
            probability = np.where(keys == NONE, probability, seen + level.rest[context] * probability)
        predicted = words != START
        text = np.cumsum(words == START)[predicted] - 1
        nats: Floats = np.bincount(text, -np.log(probability[predicted])).astype(np.float64)
        return nats, np.bincount(text).astype(np.int64)

    def _flat(self, rows: list[list[str]]) -> tuple[Ints, Ints]:
        """All rows in one, each between a start and an end, and the place of each word in its row."""
        ids = [[START, *(self._ids.get(word, UNKNOWN) for word in row), END] for row in rows]
        flat = np.fromiter((i for row in ids for i in row), np.int64)
        return flat, np.fromiter((place for row in ids for place in range(len(row))), np.int64)

    def _keys(self, words: Ints, place: Ints, node: Ints, length: int) -> Ints:
        """The key of the n-gram that ends at each place; ``node``: those of the n-grams that are one word shorter."""
        if length == 1:
            return words
        context = _before(node)
        return np.where((place >= length - 1) & (context != NONE), context * self._size + words, NONE)


def _before(node: Ints) -> Ints:
    """At each place the node of the place before."""
    return np.concatenate([[NONE], node[:-1]])


def _level(words: Ints, counted: list[tuple[Ints, Ints, Ints]], length: int) -> Level:
    keys, where, node = counted[length - 1]
    count = np.bincount(node[node != NONE], minlength=len(keys))
    if length < len(counted):
        # Of a shorter n-gram: how many different words it stands after. Nothing stands before a start.
        followers = counted[length][1]
        after = np.bincount(node[followers], minlength=len(keys))
        count = np.where(words[where - length + 1] == START, count, after)
    count = np.where(words[where] == START, 0, count)
    context = counted[length - 2][2][where - 1] if length > 1 else np.zeros_like(where)
    contexts = len(counted[length - 2][0]) if length > 1 else 1
    discount = _discounts(count)[count.clip(max=3)]
    total = np.bincount(context, count, minlength=contexts)
    rest = np.bincount(context, discount, minlength=contexts)
    # Nothing comes after an n-gram that ends a text: there the shorter context decides alone.
    divisor = np.where(total == 0, 1.0, total)
    return Level(keys, (count - discount) / divisor[context], np.where(total == 0, 1.0, rest / divisor))


def _discounts(count: Ints) -> Floats:
    """For n-grams counted 0, 1, 2 and more often: Chen and Goodman (1999), equation 26.

    0.75 for all where the corpus is too small to tell: a discount of 0 would leave nothing for words never seen.
    """
    ones, twos, threes, fours = (float((count == n).sum()) for n in (1, 2, 3, 4))
    if ones and twos and threes and fours:
        y = ones / (ones + 2 * twos)
        found = np.array([0.0, 1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes])
        if found[1:].min() > 0:
            return found
    return np.array([0.0, 0.75, 0.75, 0.75])
