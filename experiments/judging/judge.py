"""Figures of a set of texts that need no language model of ours, beside which samples have to stand."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.judging.kneser_ney import KneserNey, split_words
from experiments.training.data import books_split, english_split

__all__ = ["Judge", "Verdict", "shuffled_words"]


@dataclass(frozen=True)
class Verdict:
    """Of a set of texts; every share is between 0 and 1."""

    texts: int
    nats_per_word: float  # of the n-gram model, ends of texts and marks counted as words
    non_words: float  # share of texts with a word that no training sentence has, in whatever case
    training: float  # share of texts that are training sentences
    distinct_2: float  # different pairs of neighbouring words, of all such pairs


class Judge:
    """Knows the sentences of a corpus that are like those wanted, without the rows that are held out.

    ``sentences``: what the n-gram model counts. ``others``: more sentences whose words are words too.
    """

    def __init__(self, sentences: Sequence[str], others: Sequence[str] = ()) -> None:
        self._model = KneserNey(sentences)
        self._sentences = frozenset(sentences)
        self._words = frozenset(word.lower() for rows in (sentences, others) for row in rows for word in split_words(row))

    @classmethod
    def from_corpus(cls, corpus: Path) -> Judge:
        """The English sentences of a corpus of ``train-embedded``; the books' words are words."""
        return cls(english_split(corpus)[0], books_split(corpus)[0])

    def verdict(self, texts: Sequence[str]) -> Verdict:
        """Raises ``ValueError`` for no texts."""
        if not texts:
            raise ValueError("there is no text to judge")
        nats, count = self._model.nats(texts)
        pairs = [pair for text in texts for pair in _pairs(split_words(text))]
        return Verdict(
            texts=len(texts),
            nats_per_word=float(nats.sum() / count.sum()),
            non_words=_share(not self._words.issuperset(split_words(text.lower())) for text in texts),
            training=_share(text in self._sentences for text in texts),
            distinct_2=len(set(pairs)) / len(pairs) if pairs else 1.0,
        )


def shuffled_words(texts: Sequence[str], seed: int = 0) -> list[str]:
    """The trivial baseline: the same words, in an order without meaning."""
    rng = random.Random(seed)
    return [" ".join(rng.sample(words, len(words))) for words in map(str.split, texts)]


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words, words[1:], strict=False))


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found)
