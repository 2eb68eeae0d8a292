"""Figures of a set of texts that need no language model of ours, beside which samples have to stand."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from experiments.judging.kneser_ney import KneserNey, split_words
from experiments.judging.word_list import WordList
from experiments.training.data import books_split, english_split, paraphrase_split

__all__ = ["Judge", "Verdict", "shuffled_words"]


@dataclass(frozen=True)
class Verdict:
    """Of a set of texts; every share is between 0 and 1."""

    texts: int
    nats_per_word: float  # of the n-gram model, ends of texts and marks counted as words
    non_words: float  # share of texts with what is no word: see ``WordList``
    training: float  # share of texts that are training sentences of the embedded models
    distinct_2: float  # different pairs of neighbouring words, of all such pairs: falls as the number of texts grows


class Judge:
    """Knows sentences like those wanted, without the rows that are held out.

    ``sentences``: what the n-gram model counts, but for those ``held_out``. ``others``: more sentences, whose words are
    words too. Both are training sentences.
    """

    def __init__(
        self, sentences: Sequence[str], others: Sequence[str] = (), *, held_out: Collection[str] = frozenset()
    ) -> None:
        hidden = frozenset(held_out)
        counted = [sentence for sentence in sentences if sentence not in hidden]
        self._model = KneserNey(counted)
        self._sentences = frozenset([*sentences, *others])
        self._words = WordList([*counted, *(other for other in others if other not in hidden)])

    @classmethod
    def from_corpus(cls, corpus: Path) -> Judge:
        """The English sentences of a corpus of ``train-embedded``, and its books for their words. Takes ten seconds.

        Held-out paraphrases are left out, though the other models train on those that are English sentences too: what
        is judged beside a paraphrase must be new to the judge.
        """
        paraphrases = {sentence for pair in paraphrase_split(corpus)[1] for sentence in pair}
        return cls(english_split(corpus)[0], books_split(corpus)[0], held_out=paraphrases)

    def verdict(self, texts: Sequence[str]) -> Verdict:
        """Raises ``ValueError`` for no texts."""
        if not texts:
            raise ValueError("there is no text to judge")
        nats, count = self._model.nats(texts)
        pairs = [pair for text in texts for pair in _pairs(split_words(text))]
        return Verdict(
            texts=len(texts),
            nats_per_word=float(nats.sum() / count.sum()),
            non_words=_share(bool(self._words.unknown(text)) for text in texts),
            training=_share(text in self._sentences for text in texts),
            distinct_2=len(set(pairs)) / len(pairs) if pairs else 1.0,
        )


def shuffled_words(texts: Sequence[str], seed: int = 0) -> list[str]:
    """The trivial baseline: the same words, in an order without meaning."""
    rng = random.Random(seed)
    return [" ".join(rng.sample(words, len(words))) for words in map(str.split, texts)]


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(pairwise(words))


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found)
