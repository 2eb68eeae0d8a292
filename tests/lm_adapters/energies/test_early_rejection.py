"""The pseudo-log-likelihood of a proposal is scored no further than its rejection needs; the chains stay the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lm_adapters import EditProposal, GibbsProposal, MaskedEnergy, MaskedLM, SequentialBlock, Truncation
from lm_adapters.energies.hints import TextHint
from samplers import EnergyTerm, Kernel, MetropolisHastings, Mixture, Tempered, named, sample
from samplers.randomness import generator
from samplers.testing import row_result
from tests.lm_adapters.forward.test_cost import Meter
from tests.lm_adapters.proposals.test_moves_exactness import lm, problem, texts
from tests.lm_adapters.tiny import build

TEXTS = ["a b c d e f", "we do not like it", "the old house by the sea", "i n p"]
LONGEST = 8


class Counted(MaskedEnergy):
    """Counts the rows that it has a model read."""

    def __init__(self, model: MaskedLM, kind: str = "pll") -> None:
        super().__init__(model, kind)
        self.read = 0

    def _site_terms(self, x: Tensor, sites: Tensor) -> Tensor:
        self.read += len(x)
        return super()._site_terms(x, sites)


class Whole(Counted):
    """Scores all of every text."""

    stops_early = False


class Hasty(Counted):
    """Stops where a text is sure to be above half of its limit."""

    def values_within(self, x: Tensor, limit: Tensor, hint: object = None) -> Tensor:
        return super().values_within(x, limit / 2, hint)


@pytest.fixture(scope="module")
def meter() -> Meter:
    model = build("bert", scale=12.0)
    model.tokens_per_pass = 10**9
    return Meter(model)


def kernels(model: MaskedLM, longest: int) -> dict[str, Kernel]:
    edits = MetropolisHastings(EditProposal(model, max_length=longest))
    block = MetropolisHastings(SequentialBlock(model, 3))
    return {
        "site": MetropolisHastings(GibbsProposal(model)),
        "two sites": MetropolisHastings(GibbsProposal(model, 2)),
        "block": block,
        "whole texts": MetropolisHastings(GibbsProposal(model, longest, truncation=Truncation(temperature=20.0))),
        "edits": Mixture([(edits, 0.5), (block, 0.5)]),
        "tempered": Tempered(Mixture([(edits, 0.5), (block, 0.5)]), betas=[1.0, 0.3]),
    }


def price(x: Tensor) -> Tensor:
    return 0.3 * (x % 5).double().sum(dim=1)


def run(kernel: str, energy: EnergyTerm, start: Tensor, model: MaskedLM) -> tuple[Tensor, Tensor, Tensor]:
    moves = kernels(model, start.shape[1])[kernel]
    trace = sample(moves, energy, start, steps=80, seed=3, progress=False)
    assert bool((trace.draws[:, 0] != trace.draws[:, -1]).any())
    return trace.draws, trace.energy, trace.terms


def target(pll: EnergyTerm, kind: str) -> EnergyTerm:
    return {"alone": pll, "weighted": 0.6 * pll, "beside another": named("price", price) + 1.5 * pll}[kind]


def assert_same_chains(kernel: str, kind: str, start: Tensor, model: MaskedLM) -> None:
    early, whole = Counted(model), Whole(model)
    one, other = (run(kernel, target(pll, kind), start, model) for pll in (early, whole))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    saves = kernel == "tempered" or (kernel, kind) == ("whole texts", "alone")
    assert early.read < whole.read if saves else early.read <= whole.read


kinds = pytest.mark.parametrize("kind", ["alone", "weighted", "beside another"])


@kinds
@pytest.mark.parametrize("kernel", ["site", "two sites", "block", "whole texts"])
def test_chains_are_those_of_a_run_that_scores_everything(meter: Meter, kernel: str, kind: str):
    """Of one length, so that no pass is padded, which rounds otherwise."""
    assert_same_chains(kernel, kind, meter.lm.space.encode(["a b c d e f", "x y z o p q"] * 6), meter.lm)


@kinds
@pytest.mark.parametrize("kernel", ["edits", "tempered"])
def test_so_are_those_of_texts_of_all_lengths(kernel: str, kind: str):
    """By a model that reads every text by itself."""
    assert_same_chains(kernel, kind, texts()[::3], lm())


def test_a_limit_that_is_too_low_changes_the_chains():
    """So the equality above can fail."""
    hasty, whole = (run("edits", kind(lm()), texts()[::3], lm()) for kind in (Hasty, Whole))
    assert not torch.equal(hasty[0], whole[0])


def test_energies_up_to_the_limit_are_complete_and_those_above_may_be_infinite(meter: Meter):
    x, energy = meter.lm.space.encode(TEXTS * 3, width=LONGEST), MaskedEnergy(meter.lm, "pll")
    whole = energy(x)
    share = torch.tensor([1.0, 0.5, 2.0]).double().repeat_interleave(4)
    meter.reset()
    found = energy.values_within(x, share * whole)
    assert torch.equal(found[share >= 1], whole[share >= 1])
    assert bool((found[share < 1] == math.inf).all())
    assert meter.head_rows < int(meter.lm.space.is_token(x).sum())
    assert torch.equal(energy.values_within(x, torch.full_like(whole, math.inf)), whole)
    assert bool((energy.values_within(x, torch.full_like(whole, -math.inf)) == math.inf).all())


def test_the_redrawn_sites_are_scored_first(meter: Meter):
    """Of texts that a hint says were redrawn at one end, where the limit is what that end costs."""
    x, energy = meter.lm.space.encode(["a b c d e f"] * 2), MaskedEnergy(meter.lm, "pll")
    proposal = SequentialBlock(meter.lm, 2)
    for _ in range(20):
        proposed = proposal(x, generator(0))
    hint = proposed.hint
    assert hint is not None
    assert torch.equal(hint.redrawn(x.shape[1])[proposed.x != x], torch.ones_like(x[proposed.x != x]).bool())
    terms = energy.site_terms(proposed.x)
    first = terms.masked_fill(~hint.redrawn(x.shape[1]), 0.0).sum(dim=1)
    meter.reset()
    energy.values_within(proposed.x, 0.99 * first, hint)
    assert meter.head_rows == 2 * 2  # the first of the five that the hint does not have


def test_tokens_that_another_model_found_unlikely_are_scored_first(meter: Meter):
    """Where the limit is what the two dearest tokens cost, and the other model names these, or all but these."""
    x, energy = meter.lm.space.encode(["a b c d e f", "f e d c b a"]), MaskedEnergy(meter.lm, "pll")
    terms = energy.site_terms(x)
    dearest = terms.topk(2, dim=1)
    each = torch.zeros(x.shape, dtype=torch.float64).scatter(1, dearest.indices, math.nan)
    rows = []
    for found in (each, 1 - each.nan_to_num(nan=1.0)):
        hint = TextHint(named("another", price), each[:, 0], each=found)  # type: ignore[arg-type]
        meter.reset()
        assert bool((energy.values_within(x, 0.99 * dearest.values.sum(dim=1), hint) == math.inf).all())
        rows.append(meter.head_rows)
    assert rows[0] == 2 * 2 < rows[1]


def test_sums_of_logits_are_scored_whole(meter: Meter):
    """They may fall again."""
    raw = MaskedEnergy(meter.lm, "raw")
    assert not raw.stops_early
    x = meter.lm.space.encode(TEXTS)
    assert torch.equal(raw.values_within(x, torch.full((4,), -math.inf).double()), raw(x))


@pytest.mark.parametrize("kernel", ["site", "mixture"])
def test_the_law_is_kept(kernel: str):
    """End states from exact starts, texts of one to three words."""
    space, _ = problem("pll", "no lock")
    energy = MaskedEnergy(lm(), "pll")
    moves = {
        "site": MetropolisHastings(GibbsProposal(lm())),
        "mixture": Mixture(
            [
                (MetropolisHastings(EditProposal(lm(), max_length=3)), 0.5),
                (MetropolisHastings(SequentialBlock(lm(), 2)), 0.5),
            ]
        ),
    }
    start = space.sample(2**13, generator(1))
    options = {"steps": 8, "warmup": 7, "shard_size": len(start), "progress": False, "seed": 2}
    end = sample(moves[kernel], energy, start, **options).draws[:, -1]
    assert row_result("law", "", space.index(end), space.probabilities(), pooled=True).passed
