from __future__ import annotations

import json
import math

import pytest
import torch

import samplers
from experiments.declaration.wording import Remark
from experiments.gibbs import FLUENCY, NO_TARGET, PLL, gibbs
from lm_adapters import CausalLM, MaskedEnergy, SequenceEnergy
from samplers import EnergyError, InvalidInput
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.tiny import build

QUICK = {"chains": 4, "steps": 8, "warmup": 2, "thin": 3}
LONE = {"chains": 1, "steps": 5, "warmup": 1, "thin": 1}  # a single chain has no annealed start


def test_draws_keep_their_lengths_and_hold_no_special_token(embedded):
    run = gibbs(model=embedded, length=(3, 5), **QUICK)
    space = run.space
    assert space.lengths(run.trace.draws[:, -1]).tolist() == [3, 4, 5, 3]
    tokens = run.trace.draws[run.trace.draws != space.pad_id]
    assert bool(embedded.allowed[tokens].all())
    assert run.trace.steps.tolist() == [4, 7]


@pytest.mark.parametrize("kind", ["raw", "pll"])
@pytest.mark.parametrize("scan", ["random", "systematic"])
@pytest.mark.parametrize("block", [1, 2])
def test_energies_are_those_of_the_draws(embedded, kind, scan, block):
    run = gibbs(model=embedded, energy_kind=kind, scan=scan, block=block, top_k=50, temperature=1.2, **QUICK)
    recomputed = MaskedEnergy(embedded, kind)(run.trace.draws.flatten(0, 1)).reshape(run.trace.energy.shape) / 1.2
    torch.testing.assert_close(run.trace.energy, recomputed, rtol=0, atol=1e-4)
    assert run.known_target


def test_long_texts_are_decided_about_in_two_stages(embedded, monkeypatch):
    used, mh = [], samplers.DelayedAcceptance.step
    monkeypatch.setattr(
        samplers.DelayedAcceptance, "step", lambda self, *a, **k: used.append(self) or mh(self, *a, **k)
    )
    run = gibbs(model=embedded, length=(30, 30), scorer="none", temperature=1.2, real_words=False, **LONE)
    recomputed = MaskedEnergy(embedded, "pll")(run.trace.draws.flatten(0, 1)).reshape(run.trace.energy.shape) / 1.2
    torch.testing.assert_close(run.trace.energy, recomputed, rtol=0, atol=1e-4)
    assert run.trace.changed > 0
    assert {kernel.steps for kernel in used} == {8}


def test_without_correction_no_target_is_claimed(embedded):
    run = gibbs(model=embedded, correct="none", **QUICK)
    assert run.target == NO_TARGET
    assert run.trace.acceptance == 1.0
    assert run.summary()["trust"].startswith("No known target")
    recomputed = MaskedEnergy(embedded, "pll")(run.trace.draws.flatten(0, 1)).reshape(run.trace.energy.shape)
    torch.testing.assert_close(run.trace.energy, recomputed, rtol=0, atol=1e-4)


def test_the_seed_decides_the_draws(embedded):
    first, again, other = (gibbs(model=embedded, seed=seed, **QUICK) for seed in (3, 3, 4))
    assert torch.equal(first.trace.draws, again.trace.draws)
    assert not torch.equal(first.trace.draws, other.trace.draws)


def test_init_starts_every_chain_from_the_text(embedded):
    run = gibbs(model=embedded, init="Tom is here.", correct="mh", chains=3, steps=1, warmup=0, thin=1)
    start = embedded.space.encode(["Tom is here."])
    assert bool(((run.trace.draws[:, 0] != start).sum(dim=1) <= 1).all())


def test_a_start_that_could_never_change_is_refused(embedded):
    with pytest.raises(InvalidInput, match="no step could change anything in init"):
        gibbs(model=embedded, init="\U0001f600", **QUICK)


@pytest.mark.filterwarnings("ignore:no step changes")
@pytest.mark.parametrize(
    "init", ["I like it. ", "She - he", "R & B", "So (", "\u201cHi\u201d", "2 + 2 = 4", "@me #fun", "a\tb"]
)
def test_any_ordinary_line_is_a_start(embedded, init):
    run = gibbs(model=embedded, init=init, **QUICK)
    tokens = run.trace.draws.flatten(0, 1)
    start = embedded.space.encode([init.strip()])
    assert bool((tokens == start).where(embedded.space.fixed(start), True).all())
    assert bool((tokens != start).any())


def test_what_texts_of_the_model_lack_is_remarked_on():
    lm = build("bert")
    with pytest.warns(Remark) as shown:
        gibbs(model=lm, init="The Old House.", **QUICK)
    assert [str(each.message) for each in shown] == [
        "texts of model have no capital letters, no accents, spaces beside punctuation set by rule",
        "init is read as 'the old house.'",
    ]


@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.9}, {"top_k": 5, "top_p": 0.9}])
def test_a_truncated_proposal_limits_what_is_claimed(embedded, cut):
    reached = " and ".join(f"{name.replace('_', '-')} {value}" for name, value in cut.items())
    assert gibbs(model=embedded, **cut, **QUICK).target.endswith(f" that the proposal reaches with {reached}")
    assert gibbs(model=embedded, **QUICK).target == (
        "exp(-pll) by masked-en, over token sequences, at each length from 8 to 11 tokens in real words, "
        "new to the models"
    )


def test_run_directory_holds_config_before_and_samples_after(embedded, tmp_path):
    run = gibbs(model=embedded, out=str(tmp_path / "run"), **QUICK)
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * 2
    assert [line["text"] for line in lines] == [text for chain in run.texts() for text in chain]
    assert lines[0]["terms"] == {"pll": lines[0]["energy"], "real words": 0.0, "new texts": 0.0}
    config = json.loads((folder / "config.json").read_text())
    assert (config["seed"], config["chains"], config["correct"]) == (0, 4, "mh")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["moves"]["replace"]["tried"] == 4 * 6
    assert "torch" in json.loads((folder / "env.json").read_text())["versions"]
    with pytest.raises(InvalidInput, match="holds another run: seed was 0 and is now 1"):
        gibbs(model=embedded, out=str(folder), seed=1, **QUICK)


def test_a_run_that_fails_at_its_start_leaves_nothing(embedded, tmp_path):
    def broken(texts):
        return [math.nan for _ in texts]

    with pytest.raises(EnergyError, match=r"'broken' is NaN at the start.*chain 0"):
        gibbs(model=embedded, energies=[broken], out=str(tmp_path / "run"), **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_later_leaves_its_configuration(embedded, tmp_path):
    def broken(texts):
        return [0.0 if text == "I like it." else math.nan for text in texts]

    with pytest.raises(EnergyError, match=r"'broken' is NaN at step"):
        gibbs(model=embedded, energies=[broken], init="I like it.", out=str(tmp_path / "run"), **QUICK)
    assert (tmp_path / "run" / "config.json").exists()


def test_diagnostics_compare_chains_of_one_length_only(embedded):
    """Different lengths are different targets; between them R-hat would be large however well the chains mix."""
    from experiments.results.text_run import mixing
    from samplers import MoveCount, Trace

    rng = torch.Generator().manual_seed(0)
    lengths = [4, 4, 9, 9]
    energy = torch.randn(4, 500, dtype=torch.float64, generator=rng) + torch.tensor(lengths).unsqueeze(1)
    trace = Trace(
        energy.unsqueeze(2), energy, energy.unsqueeze(2), ("e",), torch.arange(500), {"m": MoveCount(1, 1, 1)}
    )
    figures = mixing(trace, lengths)
    assert figures.r_hat < 1.02
    assert 1500 < figures.ess_bulk < 2500
    assert math.isclose(figures.mean, energy.mean().item(), rel_tol=1e-9)
    assert trace.diagnostics()["energy"].r_hat > 1.5


SCORED = {"model": "masked-en", "scorer": "causal-en", "chains": 6, "steps": 12, "warmup": 2, "thin": 2}


def test_beside_a_scorer_the_law_is_over_texts_of_all_lengths(embedded):
    run = gibbs(length=(3, 6), **SCORED)
    assert run.target == (
        "exp(-(0.95 fluency + 0.14 pll)), fluency by causal-en and pll by masked-en, over token sequences of "
        "3 to 6 tokens, in real words, "
        "new to the models"
    )
    x = run.trace.draws.flatten(0, 1)
    causal = SequenceEnergy(CausalLM.from_pretrained("causal-en").condition_on())
    expected = FLUENCY * causal(x) + PLL * MaskedEnergy(embedded, "pll")(x)
    torch.testing.assert_close(run.trace.energy.flatten(), expected.double(), rtol=0, atol=1e-3)
    lengths = embedded.space.lengths(x)
    assert 3 <= int(lengths.min()) < int(lengths.max()) <= 6
    assert list(run.trace.moves) == ["independent", "suffix", "block"]
    assert gibbs(length=(3, 6), **{**SCORED, "scorer": None}).target == run.target


def test_a_scorer_of_other_tokens_writes_no_ends(embedded):
    other = tiny_causal.build("gpt2")
    run = gibbs(length=(3, 6), **{**SCORED, "scorer": other})
    assert list(run.trace.moves) == ["replace", "insert", "delete", "block"]
    assert "as their tokenizer" not in run.target
    assert run.trace.energy.isfinite().all()


def test_a_start_may_be_out_of_the_usual_lengths():
    run = gibbs(init="Tom is here.", length=(6, 8), **{**SCORED, "steps": 3, "warmup": 0, "thin": 1})
    assert run.target.endswith("of 4 to 8 tokens, in real words, new to the models")


def test_without_a_scorer_the_law_is_that_of_the_masked_model():
    run = gibbs(**{**SCORED, "scorer": "none", "steps": 3, "warmup": 0, "thin": 1})
    assert (
        run.target == "exp(-pll) by masked-en, over token sequences, at each length from 8 to 13 tokens in real words, "
        "new to the models"
    )
    assert list(run.trace.moves) == ["replace"]


def test_a_scorer_without_an_accept_step_is_refused():
    with pytest.raises(InvalidInput, match="scorer needs an accept step to have an effect"):
        gibbs(scorer="causal-en", correct="none", **QUICK)


def test_self_bleu_orders_by_diversity():
    from experiments.results.figures import self_bleu

    same = self_bleu(["the cat sat on the mat"] * 3)
    mixed = self_bleu(["the cat sat on the mat", "a dog ran to my house", "we will never know why"])
    assert same == pytest.approx(100)
    assert mixed < 20
    assert math.isnan(self_bleu(["alone"]))
