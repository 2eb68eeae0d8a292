"""Terms of the length against values worked out by hand, and against laws summed to the end."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lm_adapters import (
    ForbiddenWords,
    GibbsProposal,
    LengthPrior,
    LengthRange,
    MaskedEnergy,
    MaskedLM,
    PerToken,
    TextSpace,
    WordLimit,
)
from samplers import (
    Constraint,
    EnergyError,
    EnergyTerm,
    Flat,
    InvalidInput,
    MetropolisHastings,
    evaluate,
    named,
    sample,
    term_names,
)
from samplers.energy.evaluation import evaluate_candidates
from tests.lm_adapters import tiny

WORDS = TextSpace(tiny.word_level(["red", "green", "blue"]))
PIECES = TextSpace(tiny.wordpiece())
BYTES = TextSpace(tiny.byte_level())
INF = math.inf


def of_lengths(*lengths: int, width: int = 6) -> Tensor:
    """States of ``red`` of the given lengths."""
    red = WORDS.encode(["red"]).item()
    return torch.where(torch.arange(width) < torch.tensor(lengths).unsqueeze(1), red, WORDS.pad_id)


def test_length_range_holds_its_ends():
    energy = LengthRange(WORDS, 2, 4)
    assert energy(of_lengths(0, 1, 2, 3, 4, 5)).tolist() == [INF, INF, 0.0, 0.0, 0.0, INF]
    assert energy(of_lengths(3)).tolist() == [0.0]
    assert energy.is_constraint
    assert energy.name == "length"


@pytest.mark.parametrize(("low", "high"), [(0, 3), (-1, -1), (4, 3)])
def test_refused_ranges(low: int, high: int):
    with pytest.raises(InvalidInput, match=f"the length range is {low} to {high} tokens; give 1 <= low <= high"):
        LengthRange(WORDS, low, high)


def test_length_prior_by_hand():
    hazard = {1: 0.5, 2: 0.25, 3: 1.0, 4: 0.5}
    prior = LengthPrior(WORDS, lambda lengths: torch.tensor([hazard.get(int(n), 0.0) for n in lengths]))
    energies = prior(of_lengths(3, 0, 1, 2, 4))
    assert energies.exp().reciprocal().tolist() == pytest.approx([0.375, 0.0, 0.5, 0.125, 0.0])
    assert energies.dtype == torch.float64
    assert term_names(prior) == ("length prior",)
    assert not prior.is_constraint


def test_stopping_by_hand():
    prior = LengthPrior.stopping(WORDS, 0.1)
    p = [0.1, 0.19 * 0.9, 0.271 * 0.9 * 0.81, 0.3439 * 0.9 * 0.81 * 0.729]
    assert prior(of_lengths(1, 2, 3, 4)).tolist() == pytest.approx([-math.log(q) for q in p], abs=1e-12)
    assert prior(of_lengths(2)).tolist() == pytest.approx([-math.log(p[1])], abs=1e-12)
    assert prior(of_lengths(2, width=2)).tolist() == pytest.approx([-math.log(p[1])], abs=1e-12)


def law(prior: LengthPrior, longest: int) -> Tensor:
    """``p(1), ..., p(longest)``, read off states of these lengths."""
    return (-prior(of_lengths(*range(1, longest + 1), width=longest))).exp()


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.01])
def test_stopping_is_a_law_of_lengths(epsilon: float):
    p = law(LengthPrior.stopping(WORDS, epsilon), 120)
    left = (1 - epsilon) ** (120 * 121 / 2)  # of those that have not stopped: prod (1 - h)
    assert p.sum().item() == pytest.approx(1 - left, abs=1e-12)
    assert left < 1e-30
    median = int((p.cumsum(0) < 0.5).sum()) + 1
    assert median == pytest.approx(math.sqrt(1.4 / epsilon), abs=1)


def mass_of_lengths(gamma: float, longest: int, *, words: int = 8000, stop: float = 0.05) -> Tensor:
    """Sum of ``p ** gamma`` over all texts of each length: words drawn alike, the end after each with one chance."""
    lengths = torch.arange(1, longest + 1, dtype=torch.float64)
    each = gamma * ((lengths - 1) * math.log1p(-stop) + math.log(stop) - lengths * math.log(words))
    return (each + lengths * math.log(words)).exp()


def test_a_power_of_a_language_model_is_a_law_only_with_the_prior():
    assert mass_of_lengths(1.0, 800).sum().item() == pytest.approx(1.0)  # the model itself is one
    mass = mass_of_lengths(0.8, 400)
    ratios = mass[1:] / mass[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 0.95**0.8 * 8000**0.2))
    assert ratios[0] > 5  # each further length weighs more than all before it together
    constant = mass * law(LengthPrior(WORDS, lambda lengths: torch.full_like(lengths, 0.05)), 400)
    assert bool((constant[1:] > 5 * constant[:-1]).all())  # a constant hazard is not enough
    stopping = mass * law(LengthPrior.stopping(WORDS, 0.05), 400)
    total = stopping.cumsum(0)
    assert total[199].item() == pytest.approx(total[399].item(), rel=1e-15)
    assert total[20].item() < 0.5 * total[399].item()  # and the sum is not over after the first few


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_refused_epsilons(epsilon: float):
    with pytest.raises(InvalidInput, match=f"epsilon is {epsilon}; give a probability above 0 and below 1"):
        LengthPrior.stopping(WORDS, epsilon)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_refused_hazards(bad: float):
    with pytest.raises(InvalidInput, match=f"the hazard of length 1 is {bad:g}; give a probability"):
        LengthPrior(WORDS, lambda lengths: torch.full_like(lengths, bad))
    late = LengthPrior(WORDS, lambda lengths: torch.where(lengths < 3, 0.5, bad))
    with pytest.raises(InvalidInput, match=f"the hazard of length 3 is {bad:g}"):
        evaluate(late, of_lengths(1))


class Counted(EnergyTerm):
    """10 nats and the hint, which it must be handed as it is; candidates cost their value."""

    name = "counted"

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return torch.full((len(x),), 10.0) + (0 if hint is None else hint)

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        return values.double()


def test_per_token_by_hand():
    energy = PerToken(Counted(), WORDS)
    x = of_lengths(5, 1, 2, 0)
    assert energy(x).tolist() == [2.0, 10.0, 5.0, 10.0]
    assert energy.values(x, torch.tensor([10.0, 0.0, 1.0, 5.0])).tolist() == [4.0, 10.0, 5.5, 15.0]
    assert term_names(energy) == ("counted per token",)
    assert not energy.is_constraint
    assert (2.0 * energy + Flat())(of_lengths(5)).tolist() == [4.0]


def test_per_token_of_candidates():
    x, site, values = of_lengths(2, 4), torch.tensor([1, 0]), torch.tensor([[5, 6, 7], [5, 6, 7]])
    scored = evaluate_candidates(PerToken(Counted(), WORDS), x, site, values, max_rows=100)
    assert scored.energy.tolist() == [[2.5, 3.0, 3.5], [1.25, 1.5, 1.75]]
    plain = PerToken(named("sum", lambda x: x.sum(dim=1)), WORDS)
    scored = evaluate_candidates(plain, x, site, values, max_rows=100)
    first, second = x.sum(dim=1).tolist()
    red = int(x[0, 0])  # what the candidates take the place of
    by_hand = [[(first - red + v) / 2 for v in (5, 6, 7)], [(second - red + v) / 4 for v in (5, 6, 7)]]
    assert scored.energy.tolist() == by_hand


def test_per_token_keeps_constraints_and_refusals():
    assert PerToken(LengthRange(WORDS, 2, 3), WORDS)(of_lengths(1, 2, 0)).tolist() == [INF, 0.0, INF]
    assert PerToken(LengthRange(WORDS, 2, 3), WORDS).is_constraint
    long = Constraint("long", lambda x: WORDS.lengths(x) > 1)
    mixed = PerToken(long + named("ten", lambda x: torch.full((len(x),), 10.0)), WORDS)
    assert mixed(of_lengths(1, 2)).tolist() == [INF, 5.0]
    with pytest.raises(EnergyError, match="'two' returned shape"):
        evaluate(PerToken(named("two", lambda x: torch.ones(2)), WORDS), of_lengths(1, 2, 3))


@pytest.fixture(scope="module")
def model() -> MaskedLM:
    return tiny.words_lm(["red", "green", "blue"])


@pytest.mark.parametrize("hinted", [True, False])
def test_per_token_of_a_model_with_and_without_the_hint(model: MaskedLM, hinted: bool):
    energy = PerToken(MaskedEnergy(model, "pll"), model.space)
    x = model.space.encode(["red green blue", "blue", "green red"])
    proposed = GibbsProposal(model)(x, torch.Generator().manual_seed(0))
    values = energy.values(proposed.x, proposed.hint if hinted else None)
    sums = MaskedEnergy(model, "pll").site_terms(proposed.x).sum(dim=1)
    torch.testing.assert_close(values, sums / torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64))


def test_all_together_in_a_run(model: MaskedLM):
    space = model.space
    energy = ForbiddenWords(space, ["green"]) + LengthRange(space, 1, 3) + WordLimit(space, 3)
    energy = energy + 2.0 * PerToken(MaskedEnergy(model, "pll"), space) + LengthPrior.stopping(space, 0.1)
    x = space.encode(["red", "blue red blue", "red red"])
    trace = sample(MetropolisHastings(GibbsProposal(model)), energy, x, steps=50, seed=0, progress=False)
    texts = {text for x in trace.draws.unbind(1) for text in space.decode(x)}
    assert len(texts) > 3
    assert not any("green" in text for text in texts)
    assert term_names(energy) == ("forbidden words", "length", "words", "pll per token", "length prior")
