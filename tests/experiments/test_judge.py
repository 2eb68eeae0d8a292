"""The judge: word n-grams against a second implementation, the word list, what is held out of both."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from experiments.judging import judge as judging
from experiments.judging import kneser_ney
from experiments.judging.judge import Judge, shuffled_words
from experiments.judging.kneser_ney import KneserNey, split_words
from experiments.judging.word_list import WordList
from experiments.training.data import english_split, paraphrase_split
from tests.experiments.tiny_corpus import shrink, write_corpus

LETTERS = "abcde"


def texts_of(seed: int, count: int, letters: str = LETTERS, longest: int = 6) -> list[str]:
    """Texts in which some words follow others more often."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        row = [rng.choice(letters)]
        while rng.random() < 0.8 and len(row) < longest:
            row.append(rng.choice(letters[letters.index(row[-1]) :]))
        rows.append(" ".join(row))
    return rows


class ByHand:
    """Modified Kneser-Ney as the paper has it: dictionaries, one probability at a time."""

    def __init__(self, texts: list[str], order: int) -> None:
        self.order = order
        self.words = {word for text in texts for word in text.split()}
        raw: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 1)]
        for text in texts:
            row = ["<", *text.split(), ">"]
            for length in range(1, order + 1):
                raw[length].update(tuple(row[i : i + length]) for i in range(len(row) - length + 1))
        self.counts: list[dict[tuple[str, ...], int]] = [{}]
        for length in range(1, order + 1):
            before = defaultdict(set)
            if length < order:
                for gram in raw[length + 1]:
                    before[gram[1:]].add(gram[0])
            counts = {
                gram: count if length == order or gram[0] == "<" else len(before[gram])
                for gram, count in raw[length].items()
            }
            counts.pop(("<",), None)
            self.counts.append(counts)

    def discount(self, length: int, count: int) -> float:
        n = [sum(value == size for value in self.counts[length].values()) for size in range(5)]
        if 0 in n[1:]:
            return 0.75
        y = n[1] / (n[1] + 2 * n[2])
        three = [size - (size + 1) * y * n[size + 1] / n[size] for size in (1, 2, 3)]
        return three[min(count, 3) - 1] if min(three) > 0 else 0.75

    def probability(self, word: str, context: tuple[str, ...]) -> float:
        length = len(context) + 1
        after = {gram[-1]: count for gram, count in self.counts[length].items() if gram[:-1] == context}
        shorter = self.probability(word, context[1:]) if context else 1 / (len(self.words) + 2)
        if not after:
            return shorter
        total = sum(after.values())
        rest = sum(self.discount(length, count) for count in after.values()) / total
        seen = (after[word] - self.discount(length, after[word])) / total if word in after else 0.0
        return seen + rest * shorter

    def nats(self, text: str) -> float:
        row = ["<", *text.split(), ">"]
        return -sum(
            math.log(self.probability(row[i], tuple(row[max(0, i - self.order + 1) : i]))) for i in range(1, len(row))
        )


def test_probabilities_of_one_word_by_hand():
    """Of "a": half of the unigrams each for "a" and the end, discounts of 0.75, three words that may come."""
    unigram = 0.25 / 2 + 0.75 / 3
    nats, count = KneserNey(["a"], order=2).nats(["a"])
    assert nats[0] == pytest.approx(-2 * math.log(0.25 + 0.75 * unigram))
    assert count.tolist() == [2]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [3, 40, 400])
def test_probabilities_are_those_of_a_second_implementation(order, size):
    texts, others = texts_of(order, size), [*texts_of(99, 40, "abcdefgh"), "zz", "a zz b", "zz zz a"]
    nats, count = KneserNey(texts, order).nats(others)
    by_hand = ByHand(texts, order)
    assert nats.tolist() == pytest.approx([by_hand.nats(text) for text in others], rel=1e-10)
    assert count.tolist() == [len(text.split()) + 1 for text in others]


@pytest.mark.parametrize("size", [3, 400])
def test_probabilities_of_all_next_words_sum_to_one(size):
    texts = texts_of(0, size)
    by_hand = ByHand(texts, 4)
    for context in [("<",), ("<", "a"), ("a", "b", "c"), ("zz", "a"), ("e", "e", "e"), ("c", "zz", "zz")]:
        words = [*by_hand.words, ">", "zz"]
        assert sum(by_hand.probability(word, context) for word in words) == pytest.approx(1)


def test_discounts_left_out_are_seen(monkeypatch):
    monkeypatch.setattr(kneser_ney, "_discounts", lambda count: np.zeros(4))
    texts = texts_of(0, 400)
    with np.errstate(divide="ignore"):
        nats = KneserNey(texts).nats(texts[:50])[0].tolist()
    assert nats != pytest.approx([ByHand(texts, 4).nats(text) for text in texts[:50]], rel=1e-10)


def test_words_have_their_apostrophes_and_marks_stand_alone():
    assert split_words("I can't, 'Tom'.") == ["I", "can't", ",", "'", "Tom", "'", "."]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("He composes one MORE word.", []),
        ("She stopped at 1830, the 3rd time.", []),
        ("Tom's word is Tom\u2019s.", []),
        ("We met Segovia.", []),
        ("I mustra it.", ["mustra"]),
        ("Mustra is no name here.", ["Mustra"]),
        ('He: "Mustra is."', ["Mustra"]),
        ("stopping composed timing", []),
        ("is's ts aing", ["is's", "ts", "aing"]),
    ],
)
def test_what_is_no_word(text, unknown):
    words = WordList(["Compose one more word. He she it I we", "stop at Tom here, the time is met no name a"])
    assert words.unknown(text) == unknown


def test_figures_of_a_few_texts():
    judge = Judge(["a b c d", "a b"], ["e"])
    verdict = judge.verdict(["a b", "a b", "b zz"])
    assert verdict.texts == 3
    assert verdict.non_words == pytest.approx(1 / 3)
    assert verdict.training == pytest.approx(2 / 3)
    assert verdict.distinct_2 == pytest.approx(2 / 3)
    nats, count = KneserNey(["a b c d", "a b"]).nats(["a b", "a b", "b zz"])
    assert verdict.nats_per_word == pytest.approx(nats.sum() / count.sum())
    with pytest.raises(ValueError, match="no text"):
        judge.verdict([])


def test_one_text_after_the_other_or_together_is_the_same():
    model, texts = KneserNey(texts_of(0, 60)), texts_of(1, 20)
    together = model.nats(texts)[0].tolist()
    assert together == pytest.approx([model.nats([text])[0][0] for text in texts])


def test_shuffling_keeps_the_words():
    before = ["one two three four", "five"]
    after = shuffled_words(before)
    assert [sorted(text.split()) for text in after] == [sorted(text.split()) for text in before]
    assert shuffled_words(before) == after


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    shrink(monkeypatch)
    return write_corpus(tmp_path)


def test_nothing_held_out_is_counted(corpus):
    training, held_out = english_split(corpus)
    hidden = {side for pair in paraphrase_split(corpus)[1] for side in pair}
    counted = [row for row in training if row not in hidden]
    assert hidden
    assert len(counted) < len(training)
    judged = [*held_out, *hidden]
    verdict = Judge.from_corpus(corpus).verdict(judged)
    nats, count = KneserNey(counted).nats(judged)
    assert verdict.nats_per_word == pytest.approx(nats.sum() / count.sum())
    assert Judge.from_corpus(corpus).verdict(held_out).training == 0
    assert Judge.from_corpus(corpus).verdict(training).training == 1


@pytest.mark.parametrize("leak", ["english", "paraphrases"])
def test_a_leak_of_held_out_rows_is_seen(corpus, monkeypatch, leak):
    """The same comparison fails where held-out rows are counted."""
    training, held_out = english_split(corpus)
    honest = Judge.from_corpus(corpus)
    hidden = [side for pair in paraphrase_split(corpus)[1] for side in pair]
    if leak == "english":
        monkeypatch.setattr(judging, "english_split", lambda _: ([*training, *held_out], []))
    else:
        monkeypatch.setattr(judging, "paraphrase_split", lambda _: ([], []))
    leaky = Judge.from_corpus(corpus)
    judged = held_out if leak == "english" else list(itertools.chain(hidden))
    assert leaky.verdict(judged).nats_per_word < honest.verdict(judged).nats_per_word - 0.1
