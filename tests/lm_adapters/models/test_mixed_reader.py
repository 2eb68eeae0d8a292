"""Two models mixed token by token: their densities, what is kept of both, and moves that draw by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lm_adapters import MixedReader, SequenceDistribution, SequenceEnergy
from lm_adapters.forward.kv_cache import Prefixes
from samplers import IndependenceProposal, InvalidInput
from samplers.testing import BatteryFailed, check_proposal, enumerate_states
from tests.experiments.tiny_scorers import tiny_writer
from tests.lm_adapters.models.extending import extends_as_a_whole
from tests.lm_adapters.tiny_causal import words_lm

WORDS = ("red", "green", "blue", "grey")
LONGEST = 3
SHARE = 0.3


@pytest.fixture(scope="module")
def readers():
    """The second one has read something: what stands before its texts is longer."""
    first, second = (words_lm(WORDS, seed=seed, scale=6.0) for seed in (1, 2))
    return first.condition_on(), second.condition_on("blue red")


@pytest.fixture(scope="module")
def mixed(readers):
    return MixedReader(*readers, SHARE)


@pytest.fixture(scope="module")
def texts(mixed):
    words, pad = mixed.space.encode([" ".join(WORDS)])[0], mixed.space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


def test_each_token_has_the_mixture_of_both_probabilities(readers, mixed, texts):
    first, second = (SequenceEnergy(each).token_terms(texts).neg().exp() for each in readers)
    found = SequenceEnergy(mixed).token_terms(texts).neg().exp()
    read = torch.arange(LONGEST + 1) <= mixed.space.lengths(texts).unsqueeze(1)
    torch.testing.assert_close(found[read], (SHARE * first + (1 - SHARE) * second)[read], atol=1e-10, rtol=0)
    assert float((first - second)[read].abs().max()) > 0.3


def test_no_weight_is_larger_than_the_bound(readers, mixed, texts):
    log_weight = SequenceEnergy(mixed)(texts) - SequenceEnergy(readers[0])(texts)
    most = -(mixed.space.lengths(texts) + 1) * torch.tensor(SHARE, dtype=torch.float64).log()
    assert bool((log_weight <= most + 1e-9).all())


def test_what_is_kept_goes_on_as_a_whole(mixed, texts):
    extends_as_a_whole(mixed, texts[-20:])


def independent(reader):
    return IndependenceProposal(SequenceDistribution(reader, max_length=LONGEST))


def test_texts_are_drawn_as_their_density_says(mixed, texts):
    check_proposal(independent(mixed), texts, draws=2**11, starts=1)


def forget_which_rows(self, rows, counts=None):
    kept = real_take(self, rows, counts)
    if kept.beside is None:
        return kept
    return replace(kept, beside=real_take(self.beside, rows.flip(0), None if counts is None else counts))


real_take = Prefixes.take


@pytest.mark.parametrize(
    ("where", "fault"),
    [((Prefixes, "take"), forget_which_rows), ((MixedReader, "extend"), None)],
    ids=["rows of the second are others", "the second is dropped on the way"],
)
def test_mutants_are_rejected(mixed, texts, monkeypatch, where, fault):
    real = MixedReader.extend

    def first_alone(self, before, tokens, wanted):
        logits, after = self.first.extend(before, tokens, wanted)
        return logits, real(self, before, tokens, wanted)[1] if before.beside else after

    monkeypatch.setattr(*where, fault or first_alone)
    with pytest.raises(BatteryFailed):
        check_proposal(independent(mixed), texts, draws=2**11, starts=1)


def test_bad_input(readers):
    with pytest.raises(InvalidInput, match="share is 1; give a number between 0 and 1"):
        MixedReader(*readers, 1)
    other = words_lm((*WORDS, "pink")).condition_on()
    with pytest.raises(InvalidInput, match="the models have other tokens or ends; mix models with the same vocabulary"):
        MixedReader(readers[0], other, SHARE)


def test_a_causal_and_a_seq2seq_model_are_mixed(readers, texts):
    writer = tiny_writer(readers[0].space.tokenizer, "words_to_sentence")
    writer.model.double()
    mixed = MixedReader(readers[0], writer.condition_on("red", ""), SHARE)
    check_proposal(independent(mixed), texts, draws=2**11, starts=1)
