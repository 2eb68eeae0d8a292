"""The law of truncated ancestral sampling by enumeration, with and without a locked word."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters import (
    CausalLM,
    Keywords,
    NucleusEnergy,
    SequenceDistribution,
    SequenceEnergy,
    SuffixProposal,
    Truncation,
)
from samplers import InvalidInput, MetropolisHastings, sample
from samplers.randomness import generator
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.enumerated import every_text

WORDS, LONGEST, TOP_P, CHAINS = ("red", "green", "blue", "grey", "white"), 4, 0.7, 2**12


@cache
def lm() -> CausalLM:
    model = tiny_causal.words_lm(WORDS, seed=1, scale=6.0)
    model.tokens_per_pass = 10**6
    return model


@cache
def texts() -> Tensor:
    return every_text(lm().space.encode([" ".join(WORDS)])[0], LONGEST, lm().space.pad_id)


def held(x: Tensor) -> Tensor:
    return pad(Keywords(lm().space, ["grey"]).pieces(x) > 0, (0, 1), value=False)


def test_it_is_what_truncated_sampling_draws():
    """But for the end at the greatest length, which the distribution takes as certain."""
    model = lm().condition_on()
    drawn = SequenceDistribution(model, max_length=LONGEST, truncation=Truncation(top_p=TOP_P))
    short = texts()[lm().space.lengths(texts()) < LONGEST]
    energy = NucleusEnergy(model, TOP_P)(short)
    assert 0 < int(energy.isfinite().sum()) < len(short)
    # The distribution forbids an empty text; the model may allow it.
    first = NucleusEnergy(model, TOP_P).token_terms(short)[:, 0]
    rest = -energy + first
    torch.testing.assert_close(
        rest[energy.isfinite()], (drawn.token_scores(short)[:, 0, 1:].sum(dim=1))[energy.isfinite()]
    )
    assert bool((drawn.log_prob(short)[energy == math.inf] == -math.inf).all())


def test_terms_from_the_probabilities_themselves():
    model = lm().condition_on()
    x = texts()[100:101]
    energy = NucleusEnergy(model, TOP_P, exempt=held)
    wanted = torch.ones(1, int(lm().space.lengths(x)) + 1, dtype=torch.bool)
    p = torch.cat(list(model.logits(x, pad(wanted, (0, LONGEST + 1 - wanted.shape[1]))))).double().softmax(dim=1)
    possible = [*lm().allowed.nonzero().flatten().tolist(), lm().eos_id]
    tokens = [*x[0][: wanted.shape[1] - 1].tolist(), lm().eos_id]
    for place, token in enumerate(tokens):
        ranked = sorted(possible, key=lambda t: -float(p[place, t]))
        total, mass, nucleus = float(p[place, possible].sum()), 0.0, []
        for each in ranked:
            if mass >= TOP_P * total:
                break
            nucleus.append(each)
            mass += float(p[place, each])
        plain = -math.log(float(p[place, token]))
        expected = plain if held(x)[0, place] else plain + math.log(mass) if token in nucleus else math.inf
        assert float(energy.token_terms(x)[0, place]) == pytest.approx(expected, abs=1e-6)


def test_exempt_tokens_have_the_models_own_share():
    model = lm().condition_on()
    plain, free = SequenceEnergy(model).token_terms(texts()), NucleusEnergy(model, TOP_P).token_terms(texts())
    exempt = NucleusEnergy(model, TOP_P, exempt=held).token_terms(texts())
    locked = held(texts())
    torch.testing.assert_close(exempt[locked], plain[locked], rtol=0, atol=1e-6)
    assert torch.equal(exempt[~locked], free[~locked])
    assert bool((free[locked] == math.inf).any())
    assert float((free - plain)[free.isfinite()].max()) < 1e-6  # renormalised: no less likely than before


@pytest.mark.parametrize("locked", [False, True])
def test_chains_keep_the_law(locked: bool):
    model = lm().condition_on()
    lock = Keywords(lm().space, ["grey"])
    energy = lock + NucleusEnergy(model, TOP_P, exempt=held) if locked else NucleusEnergy(model, TOP_P)
    space = Enumerated(texts(), energy)
    law = space.probabilities()
    given = {"max_length": LONGEST, "lock": lock if locked else None, "truncation": Truncation(top_p=TOP_P)}
    kernel = MetropolisHastings(SuffixProposal(model, **given))
    start = space.sample(CHAINS, generator(1))
    x = sample(kernel, energy, start, steps=3, warmup=2, shard_size=CHAINS, seed=0, progress=False).draws[:, -1]
    assert not torch.equal(x, start)
    counts, pooled = pool(torch.bincount(space.index(x), minlength=len(law)), law)
    assert kl_statistic(counts, pooled) / kl_gate(int((pooled > 0).sum())) < 1
    plain = Enumerated(texts(), lock + SequenceEnergy(model) if locked else SequenceEnergy(model)).probabilities()
    counts, pooled = pool(torch.bincount(space.index(x), minlength=len(law)), plain)
    assert kl_statistic(counts, pooled) / kl_gate(int((pooled > 0).sum())) > 1


@pytest.mark.parametrize("top_p", [0.0, 1.0, 1.5, math.nan])
def test_bad_input(top_p):
    with pytest.raises(InvalidInput, match="top_p is"):
        NucleusEnergy(lm().condition_on(), top_p)
