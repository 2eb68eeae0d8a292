"""The energies of a masked language model against the loop that anyone would write by hand, and the hint."""

from __future__ import annotations

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from lm_adapters import Canonical, GibbsProposal, MaskedEnergy, MaskedLM, Truncation
from samplers import EnergyTerm, Flat, InvalidInput, MetropolisHastings, evaluate, sample
from samplers.randomness import generator
from tests.lm_adapters import tiny

EQUAL = ["a b c d", "e f g h", "the old house by"]
MIXED = ["a", "it is by the sea e f", "b b a", "z q"]
kinds = pytest.mark.parametrize("kind", ["raw", "pll"])
texts = pytest.mark.parametrize("texts", [EQUAL, MIXED], ids=["equal", "mixed"])


@pytest.fixture(scope="module")
def lm() -> MaskedLM:
    return tiny.build("bert", scale=12.0)


def by_hand(lm: MaskedLM, x: Tensor, kind: str) -> Tensor:
    """``float64 [rows, width]``: one site at a time, the whole vocabulary at every position."""
    terms = torch.zeros(x.shape, dtype=torch.float64)
    for row in range(len(x)):
        body = [token for token in x[row].tolist() if token != lm.space.pad_id]
        for site, token in enumerate(body):
            masked = [*lm.space.prefix, *body, *lm.space.suffix]
            masked[len(lm.space.prefix) + site] = lm.space.mask_id
            with torch.inference_mode():
                logits = lm.model(input_ids=torch.tensor([masked])).logits[0, len(lm.space.prefix) + site].double()
            terms[row, site] = -logits[token] if kind == "raw" else -logits.log_softmax(0)[token]
    return terms


@kinds
@texts
def test_energy_is_the_loop_by_hand(lm: MaskedLM, texts: list[str], kind: str):
    x = lm.space.encode(texts)
    expected = by_hand(lm, x, kind)
    energy = MaskedEnergy(lm, kind)
    torch.testing.assert_close(energy.site_terms(x), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(energy(x), expected.sum(dim=1), atol=1e-5, rtol=0)
    assert energy(x).dtype == torch.float64
    assert float(energy(x).std()) > 0.1


@pytest.mark.parametrize("frame", [[], ["[CLS]", "[CLS]"]], ids=["none", "two before"])
def test_energy_with_other_special_tokens_around(frame: list[str]):
    tokenizer = tiny.word_level(["red", "green", "blue"], frame=False)
    if frame:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{' '.join(frame)} $A", special_tokens=[("[CLS]", 2)]
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = MaskedLM(tiny.enlarged(tiny.bert(tokenizer), 12.0), tokenizer)
    x = lm.space.encode(["red blue green red", "blue", "green blue"])
    assert len(lm.space.prefix) == len(frame)
    torch.testing.assert_close(MaskedEnergy(lm, "pll").site_terms(x), by_hand(lm, x, "pll"), atol=1e-5, rtol=0)


@kinds
@texts
def test_site_terms_add_up(lm: MaskedLM, texts: list[str], kind: str):
    x = lm.space.encode(texts)
    terms = MaskedEnergy(lm, kind).site_terms(x)
    torch.testing.assert_close(terms.sum(dim=1), MaskedEnergy(lm, kind)(x), atol=1e-10, rtol=0)
    assert (terms[~lm.space.is_token(x)] == 0).all()


@kinds
@texts
def test_passes_of_any_size_give_the_same(lm: MaskedLM, texts: list[str], kind: str):
    x = lm.space.encode(texts)
    energies = []
    for tokens in (1, 7, 64, 10**6):
        model = MaskedLM(lm.model, lm.space.tokenizer, tokens_per_pass=tokens)
        energies.append(MaskedEnergy(model, kind)(x))
        model.close()
    for energy in energies[1:]:
        torch.testing.assert_close(energy, energies[0], atol=1e-5, rtol=0)


@kinds
@texts
@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.7, 5, 0.9)], ids=["whole", "cut"])
def test_the_hint_gives_the_energy_of_the_full_path(lm: MaskedLM, texts: list[str], kind: str, truncation: Truncation):
    x = lm.space.encode(texts).repeat(5, 1)
    proposed = GibbsProposal(lm, truncation=truncation)(x, generator(1))
    energy = MaskedEnergy(lm, kind)
    full = energy(proposed.x)
    assert proposed.hint is not None
    assert float((full - energy(x)).abs().max()) > 0.1
    torch.testing.assert_close(energy.values(proposed.x, proposed.hint), full, atol=1e-5, rtol=0)
    rows = torch.tensor([3, 0])
    torch.testing.assert_close(energy.values(proposed.x[rows], proposed.hint[rows]), full[rows], atol=1e-5, rtol=0)


@kinds
def test_the_hint_of_another_model_is_ignored(lm: MaskedLM, kind: str):
    other = tiny.build("distilbert")
    x = lm.space.encode(EQUAL)
    proposed = GibbsProposal(lm)(x, generator(1))
    assert torch.equal(
        MaskedEnergy(other, kind).values(proposed.x, proposed.hint), MaskedEnergy(other, kind)(proposed.x)
    )
    assert torch.equal(MaskedEnergy(lm, kind).values(proposed.x, "no hint of ours"), MaskedEnergy(lm, kind)(proposed.x))


def test_a_block_gives_no_hint(lm: MaskedLM):
    x = lm.space.encode(MIXED)
    assert GibbsProposal(lm, 2)(x, generator(1)).hint is None
    assert GibbsProposal(lm, 3)(x, generator(1)).hint is None
    assert GibbsProposal(lm, 1)(x, generator(1)).hint is not None


@kinds
@pytest.mark.parametrize("block", [1, 2])
def test_the_kept_energy_is_that_of_the_state(lm: MaskedLM, kind: str, block: int):
    """Through hints, rejections and a constraint that hides rows from the model."""
    target = MaskedEnergy(lm, kind) + Canonical(lm.space) if block == 1 else MaskedEnergy(lm, kind)
    x = lm.space.encode(MIXED).repeat(4, 1)
    trace = sample(MetropolisHastings(GibbsProposal(lm, block)), target, x, steps=12, progress=False)
    again = torch.stack([evaluate(target, state).energy for state in trace.draws.unbind(1)], dim=1)
    assert trace.changed > 0
    torch.testing.assert_close(trace.energy, again, atol=2e-5, rtol=0)


def test_conditionals_are_the_softmax_over_proposable_tokens(lm: MaskedLM):
    x = lm.space.encode(EQUAL)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, 1] = True
    log_prob = Truncation().log_prob(lm.logits(x, hidden), lm.allowed)
    logits = lm.logits(x, hidden).double()
    torch.testing.assert_close(log_prob[:, lm.allowed], logits[:, lm.allowed].log_softmax(dim=1))
    assert not log_prob[:, ~lm.allowed].isfinite().any()
    assert int(Truncation(top_k=3).log_prob(lm.logits(x, hidden), lm.allowed).isfinite().sum()) == 3 * len(x)


@pytest.mark.parametrize("length", [1, 3, 5])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_scan_visits_every_site(lm: MaskedLM, block: int, length: int):
    x = lm.space.masks([length, 5])
    turns = GibbsProposal(lm, block).scan(5)
    visits = torch.stack([next(turn.blocks(x))[0] for turn in turns])
    assert len(turns) == -(-5 // block)
    assert torch.equal(visits.any(dim=0), lm.space.is_token(x))
    assert (visits.sum(dim=2) == torch.tensor([length, 5]).clamp(max=block)).all()


def test_chains_draw_their_own_sites_uniformly(lm: MaskedLM):
    x = lm.space.masks([4] * 8000 + [2] * 8000)
    hidden = GibbsProposal(lm, 1).order(x, generator(0)) >= 0
    counts = hidden.reshape(2, 8000, 4).sum(dim=1).double()
    assert (hidden.sum(dim=1) == 1).all()
    torch.testing.assert_close(counts[0], torch.full((4,), 2000.0).double(), atol=250, rtol=0)  # 6.5 deviations
    torch.testing.assert_close(counts[1], torch.tensor([4000.0, 4000.0, 0, 0]).double(), atol=290, rtol=0)


def test_pieces_are_energies_and_named(lm: MaskedLM):
    assert isinstance(MaskedEnergy(lm, "pll"), EnergyTerm)
    total = MaskedEnergy(lm, "pll") + 0.5 * MaskedEnergy(lm, "raw") + Flat()
    assert total.name == "pll + raw + flat"
    assert GibbsProposal(lm, 1).move_names == ("replace",)
    assert GibbsProposal(lm, 2).move_names == ("block",)


def test_unusable_arguments(lm: MaskedLM):
    with pytest.raises(InvalidInput, match="energy kind is 'nll'; choose 'raw' or 'pll'"):
        MaskedEnergy(lm, "nll")
    with pytest.raises(InvalidInput, match="block_size is 0"):
        GibbsProposal(lm, 0)
    with pytest.raises(InvalidInput, match="tokens_per_pass is 0"):
        MaskedLM(lm.model, lm.space.tokenizer, tokens_per_pass=0)
    maskless = tiny.word_level(["a"])
    maskless.mask_token = None
    with pytest.raises(InvalidInput, match="no mask token"):
        MaskedLM(lm.model, maskless)
