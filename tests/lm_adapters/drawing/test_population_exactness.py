"""Populations that grow from left to right, by exact enumeration: their estimates of Z, and the chains made of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lm_adapters import Continuation, PowerDistribution, SuffixProposal, SuffixSMC, Truncation
from lm_adapters.drawing.continuation import _Growing
from samplers import MetropolisHastings, sample, smc
from samplers.randomness import generator
from samplers.testing.gates import pair_gate, pair_statistic
from samplers.testing.targets import Enumerated
from tests.lm_adapters.drawing.enumerated import LONGEST, by_length, lm, reader, space, texts
from tests.lm_adapters.enumerated import strain

CHAINS = 2**11
powers = pytest.mark.parametrize("power", [1.0, 4.0])
blocks = pytest.mark.parametrize("block", [1, 2, 8])


def growing(power: float, block: int) -> Continuation:
    return Continuation(reader(), power=power, max_length=LONGEST, block=block)


def log_z(power: float) -> float:
    return float((-space(power).energies).logsumexp(dim=0))


def z_scores(power: float, block: int, populations: int = 3000, particles: int = 4) -> Tensor:
    """Of Z, and of the mass of each length, estimated by the mean over populations; 0 on average, 1 in size."""
    empty = torch.full((populations, LONGEST), lm().space.pad_id)
    grown = growing(power, block).grow(empty, torch.zeros(populations, dtype=torch.int64), particles, generator(5))
    weights = (grown.log_weights - log_z(power)).exp() / particles
    shares = torch.nn.functional.one_hot(lm().space.lengths(grown.x), LONGEST + 1) * weights.unsqueeze(1)
    found = shares.view(populations, particles, -1).sum(dim=1)
    found = torch.cat([found.sum(dim=1, keepdim=True), found[:, 1:]], dim=1)
    wanted = torch.cat([torch.ones(1), by_length(space(power).probabilities())[1:]])
    return (found.mean(dim=0) - wanted) / (found.std(dim=0) / math.sqrt(populations))


def end_states(kernel: SuffixSMC, target: Enumerated, start: Tensor, steps: int) -> Tensor:
    options = {"warmup": steps - 1, "shard_size": len(start), "progress": False}
    return sample(kernel, target.energy, start, steps=steps, seed=0, **options).draws[:, -1]


def kept_law(kernel: SuffixSMC, target: Enumerated, steps: int, chains: int = CHAINS) -> float:
    """The strain on the law of chains that began with it, on the texts and on their lengths."""
    start = target.sample(chains, generator(11))
    x = end_states(kernel, target, start, steps)
    assert not torch.equal(x, start)
    law = target.probabilities()
    return max(strain(target.index(x), law), strain(lm().space.lengths(x), by_length(law)))


def test_the_laws_have_texts_that_end_early_and_such_that_are_cut_off():
    for law in (space(1.0), space(4.0), space(4.0, True)):
        lengths = by_length(law.probabilities())
        assert float(lengths[LONGEST]) > 0.05
        assert float(lengths[1:LONGEST].sum()) > 0.05
    assert 0.5 * float((space(1.0).probabilities() - space(4.0).probabilities()).abs().sum()) > 0.3


@powers
@blocks
def test_z_and_the_mass_of_each_length_are_without_bias(power: float, block: int):
    assert float(z_scores(power, block).abs().max()) < 5


@powers
@pytest.mark.parametrize(("block", "particles", "other"), [(1, 2, False), (2, 3, True), (8, 2, False)])
def test_chains_keep_the_law(power: float, block: int, particles: int, other: bool):
    assert kept_law(SuffixSMC(growing(power, block), particles), space(power, other), 4) < 1


def test_a_chain_at_another_temperature_keeps_that_law():
    target = space(4.0)
    start = target.sample(CHAINS, generator(3), beta=0.4)
    kernel, state = SuffixSMC(growing(4.0, 1), 3), None
    rng = generator(4)
    state = kernel.init(start, target.energy)
    for _ in range(3):
        state, info = kernel.step(state, target.energy, rng, beta=0.4)
    assert bool((info.changed <= info.accepted).all())
    assert torch.equal(state.energy, target.energy(state.x))
    assert strain(target.index(state.x), target.probabilities(0.4)) < 1


def test_a_step_is_its_own_reverse():
    target, size = space(4.0), len(texts())
    start = target.sample(4 * CHAINS, generator(2))
    x = end_states(SuffixSMC(growing(4.0, 1), 3), target, start, 1)
    pairs = torch.bincount(target.index(start) * size + target.index(x), minlength=size**2).reshape(size, size)
    assert pair_statistic(pairs) < pair_gate(size)


@pytest.mark.parametrize("length", [1, LONGEST])
def test_texts_that_ended_grow_again_and_long_ones_shrink(length: int):
    place = int((lm().space.lengths(texts()) == length).long().argmax())
    x = end_states(SuffixSMC(growing(1.0, 2), 4), space(1.0), texts()[place].expand(200, -1), 3)
    assert set(lm().space.lengths(x).tolist()) == {1, 2, 3, 4}
    assert len(x.unique(dim=0)) > 20


class TestMutants:
    """Deliberately broken; the tests above must see each."""

    def test_weights_of_unfinished_texts_that_are_forgotten(self, monkeypatch):
        resampled = _Growing._resampled

        def forgetful(self, step, ahead):
            chosen = resampled(self, step, ahead)
            self.log_weights = self.log_weights.masked_fill(self.unfinished, 0.0)
            return chosen

        monkeypatch.setattr(_Growing, "_resampled", forgetful)
        assert float(z_scores(4.0, 1).abs().max()) > 5
        assert kept_law(SuffixSMC(growing(4.0, 1), 3), space(4.0), 4) > 1

    def test_an_old_text_that_is_resampled_away(self, monkeypatch):
        resampled = _Growing._resampled

        def freely(self, step, ahead):
            self.kept = False
            return resampled(self, step, ahead)

        monkeypatch.setattr(_Growing, "_resampled", freely)
        assert kept_law(SuffixSMC(growing(4.0, 1), 3), space(4.0), 4) > 1

    def test_weights_without_what_was_drawn(self, monkeypatch):
        draw = _Growing._draw

        def without(self, rows, logits):
            before = self.log_weights.clone(), self.nlls.sum(dim=1)
            draw(self, rows, logits)
            self.log_weights = before[0] - self.how.power * (self.nlls.sum(dim=1) - before[1])

        monkeypatch.setattr(_Growing, "_draw", without)
        assert float(z_scores(1.0, 8).abs().max()) > 5
        assert kept_law(SuffixSMC(growing(1.0, 8), 3), space(1.0), 4) > 1

    def test_a_choice_without_the_number_of_cuts(self, monkeypatch):
        kernel, places = SuffixSMC(growing(1.0, 8), 3), SuffixSMC._places
        monkeypatch.setattr(kernel, "_places", lambda x: places(kernel, x) ** (len(x) == 2 * CHAINS))
        assert kept_law(kernel, space(1.0), 6, 2 * CHAINS) > 1

    def test_texts_that_only_shrink(self):
        """As suffix moves that redraw no more tokens than there were."""

        class Shrinking(SuffixSMC):
            def _scored(self, grown, state, energy):
                x, values, terms = super()._scored(grown, state, energy)
                longer = lm().space.lengths(x) > lm().space.lengths(state.x).repeat_interleave(self.num_particles)
                return x, values.masked_fill(longer, math.inf), terms

        assert kept_law(Shrinking(growing(4.0, 8), 3), space(4.0), 4) > 1


@pytest.mark.parametrize("other", [False, True])
def test_smc_begins_with_a_population_and_follows_the_law(other: bool):
    target, half = space(2.0, other), Truncation(0.5)
    kernel = MetropolisHastings(SuffixProposal(reader(), max_length=LONGEST, truncation=half, cuts="open"))
    begun = PowerDistribution(growing(2.0, 2))
    found = smc(target.energy, begun, kernel, num_particles=600, moves=1, populations=4, progress=False)
    exact = float((-target.energies).logsumexp(dim=0))
    assert found.log_z_mean == pytest.approx(exact, abs=0.1)
    law = target.index(found.x).bincount(minlength=len(texts())) / len(found.x)
    assert 0.5 * float((law - target.probabilities()).abs().sum()) < 0.1
    assert bool((found.ancestors > 1).all())
    assert bool((found.ancestors < 600).all())


def test_the_density_of_the_beginning_is_the_power_of_the_model():
    begun = PowerDistribution(growing(4.0, 2))
    torch.testing.assert_close(begun.log_prob(texts()), -space(4.0).energies, atol=1e-10, rtol=0)
    assert begun.sample((2, 3)).shape == (2, 3, LONGEST)
    empty = torch.full((1, LONGEST), lm().space.pad_id)
    assert float(begun.log_prob(empty)) == -math.inf
    assert float(begun.log_prob(torch.full((1, LONGEST), lm().start_id))) == -math.inf
