"""The nucleus of a model as a model: its law, what it keeps, and populations that draw from powers of it."""

from __future__ import annotations

import math

import pytest
import torch

from lm_adapters import (
    Continuation,
    NucleusEnergy,
    NucleusReader,
    PowerDistribution,
    SequenceDistribution,
    StoppedEnergy,
)
from samplers import IndependenceProposal, InvalidInput
from samplers.randomness import generator
from samplers.testing import BatteryFailed, check_proposal
from tests.lm_adapters.drawing.enumerated import LONGEST, reader, texts
from tests.lm_adapters.models.extending import extends_as_a_whole

SHARES = (0.5, 0.8)
shares = pytest.mark.parametrize("top_p", SHARES)


def independent(model):
    return IndependenceProposal(SequenceDistribution(model, max_length=LONGEST))


@shares
def test_the_law_is_that_of_the_energy(top_p):
    long = texts()[(texts() != reader().space.pad_id).sum(dim=1) > 1]
    nucleus = NucleusReader(reader(), top_p, min_length=0)
    found = StoppedEnergy(nucleus, LONGEST + 1)(long)
    torch.testing.assert_close(found, NucleusEnergy(reader(), top_p)(long), atol=1e-9, rtol=0)
    assert bool((found == math.inf).any()), "something is outside"


@pytest.mark.parametrize("min_length", [1, 2, 3])
def test_the_law_adds_up_and_no_text_ends_too_early(min_length):
    for top_p in SHARES:
        log_p = -StoppedEnergy(NucleusReader(reader(), top_p, min_length), LONGEST)(texts())
        lengths = reader().space.lengths(texts())
        assert float(log_p.logsumexp(dim=0)) == pytest.approx(0.0, abs=1e-6)
        assert bool((log_p[lengths < min_length] == -math.inf).all())


@shares
def test_what_is_kept_goes_on_as_a_whole(top_p):
    extends_as_a_whole(NucleusReader(reader(), top_p, min_length=3), texts()[-30:])


@shares
def test_texts_are_drawn_as_their_density_says(top_p):
    check_proposal(independent(NucleusReader(reader(), top_p, min_length=2)), texts(), draws=2**11, starts=1)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_populations_estimate_the_mass_of_a_power(power):
    nucleus = NucleusReader(reader(), 0.8, min_length=2)
    exact = float((-power * StoppedEnergy(nucleus, LONGEST)(texts())).logsumexp(dim=0))
    law = PowerDistribution(Continuation(nucleus, power=power, min_length=2, max_length=LONGEST, block=2))
    found = torch.tensor([law.draw_population(8, generator(seed)).log_z for seed in range(400)], dtype=torch.float64)
    ratio = (found - exact).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


def forget_what_was_read(self, before, tokens, wanted):
    logits, after = self.reader.extend(before, tokens, wanted)
    return self._inside(logits, wanted.nonzero()[:, 1]), after


@pytest.mark.parametrize(
    "fault",
    [
        ("extend", forget_what_was_read),
        ("extend", lambda self, *given: self.reader.extend(*given)),
    ],
    ids=["columns counted anew", "no nucleus on the way"],
)
def test_mutants_are_rejected(monkeypatch, fault):
    monkeypatch.setattr(NucleusReader, *fault)
    with pytest.raises(BatteryFailed):
        check_proposal(independent(NucleusReader(reader(), 0.5, min_length=3)), texts(), draws=2**11, starts=1)


@pytest.mark.parametrize("top_p", [0.0, 1.0, -0.5, math.nan])
def test_bad_shares(top_p):
    with pytest.raises(InvalidInput, match="top_p is"):
        NucleusReader(reader(), top_p)
