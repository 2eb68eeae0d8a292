"""A model made to write words that must come: its densities, what it keeps, and moves that draw by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lm_adapters import BoostedReader, Keywords, SequenceDistribution, SequenceEnergy
from lm_adapters.forward.kv_cache import Prefixes
from samplers import IndependenceProposal, InvalidInput
from samplers.testing import BatteryFailed, check_proposal, enumerate_states
from tests.lm_adapters.models.extending import extends_as_a_whole
from tests.lm_adapters.tiny_causal import words_lm

WORDS = ("red", "green", "blue", "grey")
LONGEST = 3
LOCKS = {
    "one": (["green"], [2.0], False),
    "two": (["blue", "red"], [2.0, 3.0], False),
    "repeated": (["red", "red"], [1.5, 1.5], True),
    "of two tokens": (["green blue"], [2.0], False),
    "any order": (["green", "blue red"], [0.0, 2.0], True),
}


@pytest.fixture(scope="module")
def reader():
    return words_lm(WORDS, seed=1, scale=6.0).condition_on("grey")


@pytest.fixture(scope="module", params=LOCKS.values(), ids=LOCKS)
def boosted(request, reader):
    words, nats, any_order = request.param
    return BoostedReader(reader, Keywords(reader.space, words, any_order=any_order), nats)


@pytest.fixture(scope="module")
def texts(reader):
    words, pad = reader.space.encode([" ".join(WORDS)])[0], reader.space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


def independent(reader):
    return IndependenceProposal(SequenceDistribution(reader, max_length=LONGEST))


def after(reader, beginning: str) -> torch.Tensor:
    """Log-probabilities of what follows, of the words and the end."""
    ids = reader.space.encode([" ".join(WORDS)])[0].tolist()
    x = reader.space.encode([beginning]) if beginning else torch.zeros(1, 0, dtype=torch.int64)
    x = torch.nn.functional.pad(x, (0, 1), value=reader.space.pad_id)
    wanted = torch.arange(x.shape[1] + 1) == len(beginning.split())
    return torch.cat([*reader.logits(x, wanted.unsqueeze(0))])[0].log_softmax(0)[[*ids, reader.eos_id]]


@pytest.mark.parametrize(
    ("lock", "beginning", "red", "green", "blue", "end"),
    [
        ("one", "", 0, 2, 0, -2),
        ("one", "red", 0, 2, 0, -2),
        ("one", "green red", 0, 0, 0, 0),
        ("two", "", 0, 0, 2, -2),  # the second word comes after the first
        ("two", "red", 0, 0, 2, -2),
        ("two", "red blue", 3, 0, 0, -3),
        ("two", "blue red", 0, 0, 0, 0),
        ("repeated", "red", 1.5, 0, 0, -1.5),
        ("repeated", "red red", 0, 0, 0, 0),
        ("of two tokens", "red green", 0, 2, 2, -2),  # goes on, or begins anew
        ("of two tokens", "green red", 0, 2, 0, -2),
        ("of two tokens", "green blue", 0, 0, 0, 0),
        ("any order", "", 0, 0, 2, -2),
        ("any order", "blue", 2, 0, 2, -2),
        ("any order", "blue red", 0, 0, 0, 0),  # the other word is given no nats
    ],
)
def test_words_that_lack_are_likelier_by_their_nats(reader, lock, beginning, red, green, blue, end):
    words, nats, any_order = LOCKS[lock]
    boosted = BoostedReader(reader, Keywords(reader.space, words, any_order=any_order), nats)
    expected = after(reader, beginning) + torch.tensor([red, green, blue, 0, end])
    found = after(boosted, beginning)
    torch.testing.assert_close(found - found[3], expected - expected[3], atol=1e-9, rtol=0)


def test_words_come_far_more_often(reader, texts):
    lock = Keywords(reader.space, ["red"])
    holds = lock.found(texts)
    shares = [
        float(independent(each).distribution.log_prob(texts)[holds].exp().sum())
        for each in (reader, *(BoostedReader(reader, lock, [nats]) for nats in (2.0, 4.0)))
    ]
    assert all(more > 1.2 * less for less, more in pairwise(shares)) or shares[-1] > 0.9
    assert shares[0] < 0.6


def test_what_is_kept_goes_on_as_a_whole(boosted, texts):
    extends_as_a_whole(boosted, texts[-20:])


def test_texts_are_drawn_as_their_density_says(boosted, texts):
    check_proposal(independent(boosted), texts, draws=2**11, starts=1)


def test_no_text_becomes_impossible(boosted, texts):
    assert bool(SequenceEnergy(boosted)(texts).isfinite().all())


def forget_which_rows(self, rows, counts=None):
    kept = real_take(self, rows, counts)
    if kept.beside is None:
        return kept
    return replace(kept, layers=real_take(self, rows.flip(0), None if counts is None else counts.flip(0)).layers)


real_take = Prefixes.take


def forget_what_was_read(self, before, tokens, wanted):
    logits, kept = self.reader.extend(before.beside, tokens, wanted)
    return logits, replace(before, counts=kept.counts, beside=kept)


@pytest.mark.parametrize(
    ("where", "fault"),
    [((Prefixes, "take"), forget_which_rows), ((BoostedReader, "extend"), forget_what_was_read)],
    ids=["tokens of other rows", "nothing is boosted on the way"],
)
def test_mutants_are_rejected(reader, texts, monkeypatch, where, fault):
    boosted = BoostedReader(reader, Keywords(reader.space, ["red"]), [2.0])  # texts with it end, others go on
    monkeypatch.setattr(*where, fault)
    with pytest.raises(BatteryFailed):
        check_proposal(independent(boosted), texts, draws=2**11, starts=1)


@pytest.mark.parametrize("nats", [[], [1.0, 2.0], [-1.0], [float("nan")], [float("inf")]])
def test_bad_nats(reader, nats):
    with pytest.raises(InvalidInput, match="give a number for each of 1 words, 0 or more"):
        BoostedReader(reader, Keywords(reader.space, ["red"]), nats)


def test_bad_tokens(reader):
    other = words_lm((*WORDS, "pink")).space
    with pytest.raises(InvalidInput, match="the words are spelt in other tokens than the model's"):
        BoostedReader(reader, Keywords(other, ["red"]), [1.0])
