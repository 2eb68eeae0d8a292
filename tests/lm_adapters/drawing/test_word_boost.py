"""Words that must come, made likelier: densities, moves that draw by them, and what these know of the model."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lm_adapters import Keywords, SequenceDistribution, SequenceEnergy, WordBoost
from lm_adapters.proposals.token_distribution import TokenDistribution
from samplers import IndependenceProposal, InvalidInput
from samplers.testing import BatteryFailed, check_proposal, enumerate_states
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
def boost(request, reader):
    words, nats, any_order = request.param
    return WordBoost(Keywords(reader.space, words, any_order=any_order), nats)


@pytest.fixture(scope="module")
def texts(reader):
    words, pad = reader.space.encode([" ".join(WORDS)])[0], reader.space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


def independent(reader, boost=None):
    return IndependenceProposal(SequenceDistribution(reader, max_length=LONGEST, boost=boost))


def after(reader, boost, beginning: str) -> torch.Tensor:
    """Nats by which the words and the end are likelier."""
    ids = reader.space.encode([" ".join(WORDS)])[0].tolist()
    x = reader.space.encode([beginning]) if beginning else torch.zeros(1, 0, dtype=torch.int64)
    place = torch.tensor([x.shape[1]])
    longer = torch.cat([x, x.new_tensor([ids[:1]])], dim=1)  # what stands behind the place does not count
    nats = boost.shifted(torch.zeros(1, len(reader.allowed)), longer, place, reader.eos_id)
    return nats[0, [*ids, reader.eos_id]]


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
    boost = WordBoost(Keywords(reader.space, words, any_order=any_order), nats)
    assert after(reader, boost, beginning).tolist() == [red, green, blue, 0, end]


def test_words_come_far_more_often(reader, texts):
    lock = Keywords(reader.space, ["red"])
    holds = lock.found(texts)
    shares = [
        float(independent(reader, WordBoost(lock, [nats])).distribution.log_prob(texts)[holds].exp().sum())
        for nats in (0.0, 2.0, 4.0)
    ]
    assert all(more > 1.2 * less for less, more in pairwise(shares)) or shares[-1] > 0.9
    assert shares[0] < 0.6


def test_texts_are_drawn_as_their_density_says(reader, boost, texts):
    check_proposal(independent(reader, boost), texts, draws=2**11, starts=1)


def test_no_text_becomes_impossible(reader, boost, texts):
    assert bool(independent(reader, boost).distribution.log_prob(texts).isfinite().all())


def test_the_model_scores_what_it_drew_without_another_pass(reader, boost):
    drawn = independent(reader, boost).distribution.sample_and_log_prob(50)
    known = SequenceEnergy(reader).values(drawn.x, drawn.hint)
    assert known.equal(drawn.hint.nlls)
    torch.testing.assert_close(known, SequenceEnergy(reader)(drawn.x), atol=1e-5, rtol=0)


def after_other_texts(self, logits, place, u, reach, begun):
    return real_draw(self, logits, place, u, reach, begun.flip(0))


def after_nothing(self, logits, place, u, reach, begun):
    return real_draw(self, logits, place, u, reach, torch.full_like(begun, self.model.space.pad_id))


real_draw = TokenDistribution.draw


@pytest.mark.parametrize("fault", [after_other_texts, after_nothing])
def test_mutants_are_rejected(reader, texts, monkeypatch, fault):
    boost = WordBoost(Keywords(reader.space, ["red"]), [2.0])  # texts with it end, others go on
    monkeypatch.setattr(TokenDistribution, "draw", fault)
    with pytest.raises(BatteryFailed):
        check_proposal(independent(reader, boost), texts, draws=2**11, starts=1)


@pytest.mark.parametrize("nats", [[], [1.0, 2.0], [-1.0], [float("nan")], [float("inf")]])
def test_bad_nats(reader, nats):
    with pytest.raises(InvalidInput, match="give a number for each of 1 words, 0 or more"):
        WordBoost(Keywords(reader.space, ["red"]), nats)


def test_bad_tokens(reader):
    other = words_lm((*WORDS, "pink")).space
    with pytest.raises(InvalidInput, match="the words are spelt in other tokens than the model's"):
        independent(reader, WordBoost(Keywords(other, ["red"]), [1.0]))
