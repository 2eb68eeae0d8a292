"""Moves and populations under a grammar by exact enumeration of all texts of four pieces, and broken ones."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import (
    AdaptiveRejection,
    Continuation,
    Matches,
    PowerDistribution,
    SequenceDistribution,
    SequenceEnergy,
    StoppedEnergy,
    SuffixProposal,
    SuffixSMC,
    Truncation,
)
from lm_adapters.drawing.continuation import _Growing, _Tokens, _TriedTokens
from samplers import InvalidInput, MetropolisHastings, PopulationDied, importance_sample, sample, smc
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing.chains import detailed_balance_error, invariance_error
from samplers.testing.targets import Enumerated
from tests.lm_adapters.enumerated import strain
from tests.lm_adapters.grammars.enumerated import GRAMMARS, LONGEST, following, lm, reader, space, texts

CHAINS = 2**10
grammars = pytest.mark.parametrize("name", list(GRAMMARS))
powers = pytest.mark.parametrize("power", [1.0, 4.0])
TRUNCATIONS = {"whole": Truncation(), "cold": Truncation(0.5), "cut": Truncation(0.8, 3, 0.95)}
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))


@pytest.fixture
def masked_only(monkeypatch):
    """Draws that ask neither whether a text can end in time nor how what must come is spelt, by the model alone."""
    monkeypatch.setattr("lm_adapters.proposals.token_distribution.UNFIT", 1.0)
    monkeypatch.setattr("lm_adapters.proposals.token_distribution.SPELT", 0.0)
    monkeypatch.setattr("lm_adapters.proposals.token_distribution.EVEN", 0.0)


def law(name: str, truncation: Truncation = TRUNCATIONS["whole"], shortest: int = 1) -> SequenceDistribution:
    return SequenceDistribution(
        reader(), min_length=shortest, max_length=LONGEST, truncation=truncation, following=following(name)
    )


def matches(name: str) -> Tensor:
    return Matches(lm().space, GRAMMARS[name])(texts()) == 0


class TestWholeTexts:
    @grammars
    @truncations
    @pytest.mark.parametrize("shortest", [1, 3])
    def test_the_densities_add_up_to_one(self, name: str, truncation: Truncation, shortest: int):
        """Beginnings that cannot end in time are drawn too, and ended there."""
        found = law(name, truncation, shortest).log_prob(texts()).exp()
        assert float(found.sum()) == pytest.approx(1.0, abs=1e-12)
        assert 0.99 < float(found[matches(name)].sum()) < 1
        if not truncation.cuts and shortest == 1:
            assert bool((found[matches(name)] > 0).all())

    @grammars
    def test_draws_follow_the_densities_that_come_with_them(self, name: str):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found = law(name).sample_and_log_prob(4000)
        index = space(name).index(found.x)
        assert strain(index, law(name).log_prob(texts()).exp()) < 1
        torch.testing.assert_close(found.log_q, law(name).log_prob(found.x), atol=1e-10, rtol=0)

    @grammars
    def test_the_weight_is_the_product_of_the_masses_that_were_allowed(self, name: str, masked_only):
        x = texts()[matches(name)]
        lengths, scores = lm().space.lengths(x), SequenceDistribution(reader(), max_length=LONGEST)
        plain = scores.token_scores(x)[:, 0]
        logits = torch.cat([*reader().logits(x, torch.ones(len(x), LONGEST, dtype=torch.bool))]).softmax(dim=1)
        proposable = lm().allowed.clone()
        proposable[lm().eos_id] = True
        place = torch.arange(LONGEST).repeat(len(x))
        own = logits * proposable
        own[place == 0, lm().eos_id] = 0.0
        own /= own.sum(dim=1, keepdim=True)
        allowed = following(name).allowed(x.repeat_interleave(LONGEST, dim=0), place, lm().eos_id)
        mass = (own * allowed).sum(dim=1).log().reshape(len(x), LONGEST)
        inside = torch.arange(LONGEST) <= lengths.unsqueeze(1)
        weight = plain.sum(dim=1) - law(name).log_prob(x)
        torch.testing.assert_close(weight, mass.where(inside, 0.0).sum(dim=1), atol=1e-9, rtol=0)

    @grammars
    def test_importance_sampling_has_the_law_and_its_mass(self, name: str):
        target = space(name)
        found = importance_sample(target.energy, law(name), num_samples=6000, seed=1)
        assert found.log_z == pytest.approx(float((-target.energies).logsumexp(dim=0)), abs=0.05)
        shares = torch.zeros(len(texts()), dtype=torch.float64)
        shares.index_add_(0, target.index(found.x), found.log_weights.softmax(dim=0))
        assert 0.5 * float((shares - target.probabilities()).abs().sum()) < 0.05

    @grammars
    def test_masked_draws_taken_for_exact_ones_are_seen(self, name: str):
        """The mutant: a mask without its weight."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = law(name).sample((4000,))
        x = x[following(name).is_match(x)]
        assert strain(space(name).index(x), space(name).probabilities()) > 1

    @grammars
    def test_rejection_that_remembers_hopeless_beginnings_is_exact(self, name: str):
        plain = SequenceDistribution(reader(), max_length=LONGEST)
        constraint, wanted = Matches(lm().space, GRAMMARS[name]), plain.log_prob(texts()).exp() * matches(name)
        found = AdaptiveRejection(plain, constraint, following(name).hopeless).draw(2000, generator(1), batch=32)
        assert strain(space(name).index(found.x), wanted / wanted.sum()) < 1
        masked = AdaptiveRejection(law(name), constraint).draw(2000, generator(1), batch=32)
        wanted = law(name).log_prob(texts()).exp() * matches(name)
        assert strain(space(name).index(masked.x), wanted / wanted.sum()) < 1


def suffix(name: str, power: float, cuts: str = "open") -> SuffixProposal:
    return SuffixProposal(
        reader(), max_length=LONGEST, truncation=Truncation(1 / power), cuts=cuts, following=following(name)
    )


class TestSuffixMoves:
    @staticmethod
    @cache
    def by_cut(name: str, power: float, cuts: str) -> Tensor:
        """``float64 [cuts, from, to]``, over the texts that match."""
        x, tabled = texts()[matches(name)], suffix(name, power, cuts)
        table, index = tabled.distribution.token_scores(x), Enumerated(x, lambda x: x[:, 0].double()).index
        tabled.distribution.token_scores = lambda x: table[index(x)]
        return torch.stack([tabled.cut_log_probs(x, row.expand(len(x), -1)) for row in x]).permute(2, 0, 1)

    def matrix(self, name: str, power: float, cuts: str, back: Tensor | None = None) -> Tensor:
        """The step; ``back``: densities by which the accept step takes the moves, by default those drawn with."""
        energies = space(name, power).energies[matches(name)]
        size, energy = len(energies), energies.expand(len(energies), -1)
        forward, total = self.by_cut(name, power, cuts), torch.zeros(len(energies), len(energies), dtype=torch.float64)
        said = forward if back is None else back
        for log_q, told in zip(forward, said, strict=True):
            accept = log_acceptance(energy.T, energy, told, told.T).clamp(max=0).exp()
            total += log_q.exp() * accept
        return total + torch.diag(1 - total.sum(dim=1)) if size else total

    @grammars
    @powers
    @pytest.mark.parametrize("cuts", ["uniform", "open"])
    def test_exact_matrix(self, name: str, power: float, cuts: str):
        step, wanted = self.matrix(name, power, cuts), space(name, power).probabilities()[matches(name)]
        assert invariance_error(step, wanted) < 1e-12
        assert detailed_balance_error(step, wanted) < 1e-12
        assert bool((torch.linalg.matrix_power(step, LONGEST) > 0).all()), "all texts that match are reached"

    @grammars
    def test_densities_without_the_mask_are_seen(self, name: str):
        x = texts()[matches(name)]
        plain = SuffixProposal(reader(), max_length=LONGEST, cuts="uniform")
        told = torch.stack([plain.cut_log_probs(x, row.expand(len(x), -1)) for row in x]).permute(2, 0, 1)
        step = self.matrix(name, 1.0, "uniform", told)
        assert invariance_error(step, space(name).probabilities()[matches(name)]) > 1e-3

    @grammars
    def test_chains_keep_the_law(self, name: str):
        """Through the model, with what the move tells the energy."""
        target = space(name)
        energy = StoppedEnergy(reader(), LONGEST) + Matches(lm().space, GRAMMARS[name])
        start = target.sample(CHAINS, generator(11))
        options = {"steps": 3, "warmup": 2, "shard_size": CHAINS, "seed": 0, "progress": False}
        x = sample(MetropolisHastings(suffix(name, 1.0)), energy, start, **options).draws[:, -1]
        assert not torch.equal(x, start)
        assert strain(target.index(x), target.probabilities()) < 1


def growing(name: str, power: float, *, block: int = 2, adaptive: bool = False) -> Continuation:
    return Continuation(
        reader(), power=power, max_length=LONGEST, block=block, following=following(name), adaptive=adaptive
    )


def z_scores(name: str, power: float, *, adaptive: bool, block: int = 2, populations: int = 600) -> Tensor:
    """Of Z, and of the mass of each length, estimated by the mean over populations; 0 on average, 1 in size."""
    particles, target = 4, space(name, power)
    empty = torch.full((populations, LONGEST), lm().space.pad_id)
    grow = growing(name, power, block=block, adaptive=adaptive).grow
    grown = grow(empty, torch.zeros(populations, dtype=torch.int64), particles, generator(5))
    log_z = float((-target.energies).logsumexp(dim=0))
    weights = (grown.log_weights - log_z).exp() / particles
    shares = torch.nn.functional.one_hot(lm().space.lengths(grown.x), LONGEST + 1) * weights.unsqueeze(1)
    found = shares.view(populations, particles, -1).sum(dim=1)
    found = torch.cat([found.sum(dim=1, keepdim=True), found[:, 1:]], dim=1)
    masses = torch.zeros(LONGEST + 1, dtype=torch.float64)
    masses.index_add_(0, lm().space.lengths(texts()), target.probabilities())
    off = found.mean(dim=0) - torch.cat([torch.ones(1), masses[1:]])
    return off / (found.std(dim=0) / math.sqrt(populations)).clamp(min=1e-9)


class TestPopulations:
    @pytest.mark.parametrize(
        ("name", "power", "adaptive", "block"),
        [
            ("pattern", 1.0, False, 1),
            ("pattern", 4.0, False, 8),
            ("grammar", 1.0, False, 2),
            ("pattern", 1.0, True, 2),
            ("grammar", 1.0, True, 1),
        ],
    )
    def test_z_and_the_mass_of_each_length_are_without_bias(self, name: str, power: float, adaptive: bool, block: int):
        assert float(z_scores(name, power, adaptive=adaptive, block=block).abs().max()) < 5

    def test_a_price_paid_in_advance_and_not_given_back_is_seen(self, monkeypatch):
        resampled = _Growing._resampled

        def kept(self, step, ahead):
            chosen = resampled(self, step, ahead)
            self.log_weights += ahead[chosen].where(self.unfinished, 0.0)
            return chosen

        monkeypatch.setattr(_Growing, "_resampled", kept)
        assert float(z_scores("pattern", 1.0, adaptive=False, block=1).abs().max()) > 5

    def test_an_estimated_mass_that_is_left_out_is_seen(self, monkeypatch):
        tried = _TriedTokens._tried
        monkeypatch.setattr(
            _TriedTokens, "_tried", lambda *a: (f := tried(*a))._replace(log_mass=0.0 if f.token >= 0 else f.log_mass)
        )
        assert float(z_scores("pattern", 1.0, adaptive=True).abs().max()) > 5

    def test_a_mask_that_is_taken_for_exact_is_seen(self, monkeypatch):
        """Tokens drawn among the allowed ones that weigh as if all had been."""
        draw = _Tokens.draw_others

        def unmasked(self, logits, column, u, given, *begun):
            parts = [*logits]
            token, _, nlls = draw(self, parts, column, u, given, *begun)
            plain = _Tokens(self.model, self.truncation, self.min_length, self.max_length)
            return token, plain.log_probs(parts, column, token)[0], nlls

        monkeypatch.setattr(_Tokens, "draw_others", unmasked)
        assert float(z_scores("pattern", 1.0, adaptive=False).abs().max()) > 5

    def test_texts_that_are_cut_off_before_they_match_are_seen(self, monkeypatch, masked_only):
        monkeypatch.setattr(type(following("pattern")), "is_match", lambda self, x: torch.ones(len(x)).bool())
        assert float(z_scores("pattern", 1.0, adaptive=False, populations=2400).abs().max()) > 5

    @grammars
    def test_conditional_populations_keep_the_law(self, name: str):
        target = space(name)
        energy = StoppedEnergy(reader(), LONGEST) + Matches(lm().space, GRAMMARS[name])
        start = target.sample(CHAINS, generator(11))
        options = {"steps": 3, "warmup": 2, "shard_size": CHAINS, "seed": 0, "progress": False}
        x = sample(SuffixSMC(growing(name, 1.0, block=1), 3), energy, start, **options).draws[:, -1]
        assert not torch.equal(x, start)
        assert strain(target.index(x), target.probabilities()) < 1

    @pytest.mark.parametrize(("name", "adaptive"), [("pattern", True), ("grammar", False)])
    def test_smc_follows_the_law_and_its_mass(self, name: str, adaptive: bool):
        target, kernel = space(name, 2.0), MetropolisHastings(suffix(name, 2.0))
        begun = PowerDistribution(growing(name, 2.0, adaptive=adaptive))
        found = smc(target.energy, begun, kernel, num_particles=300, moves=1, populations=4, progress=False)
        assert found.log_z_mean == pytest.approx(float((-target.energies).logsumexp(dim=0)), abs=0.15)
        shares = target.index(found.x).bincount(minlength=len(texts())) / len(found.x)
        assert 0.5 * float((shares - target.probabilities()).abs().sum()) < 0.1
        torch.testing.assert_close(begun.log_prob(texts()), -target.energies, atol=1e-10, rtol=0)

    def test_what_cannot_be_is_refused(self):
        with pytest.raises(InvalidInput, match="adaptive is for tokens that a grammar allows or not; give following"):
            Continuation(reader(), max_length=LONGEST, adaptive=True)
        x = texts()[matches("pattern")][:2]
        with pytest.raises(InvalidInput, match="no text can be kept with adaptive; leave adaptive out"):
            growing("pattern", 1.0, adaptive=True).grow(x, torch.zeros(2).long(), 2, generator(0), kept=True)
        short = Continuation(reader(), max_length=1, following=following("grammar"))
        x = PowerDistribution(short).sample((50,))
        assert (
            set(lm().space.decode(x))
            == {
                "ab",
            }
            or len(x) == 50
        )
        none = Continuation(reader(), max_length=1, following=following("pattern"))
        with pytest.raises(PopulationDied, match="none of 3 texts of up to 1 tokens matched the grammar; allow more"):
            PowerDistribution(none).draw_population(3, generator(0))


def test_the_model_is_asked_for_ends_where_the_law_says_so():
    """A law that has no cut-off texts is another: the negative control."""
    ended = SequenceEnergy(reader()) + Matches(lm().space, GRAMMARS["pattern"])
    other = Enumerated(texts(), ended).probabilities()
    assert 0.5 * float((other - space("pattern").probabilities()).abs().sum()) > 0.01
