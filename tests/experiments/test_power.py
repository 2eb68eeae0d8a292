"""``power``: its law by every sampler, what is refused, runs in folders."""

from __future__ import annotations

import json
import math

import pytest
import torch

from experiments.continuing.power import power
from experiments.entry.report import report
from lm_adapters import CausalLM, NucleusReader, StoppedEnergy
from samplers import InvalidInput
from tests.experiments.tiny_models import tiny_models
from tests.lm_adapters import tiny
from tests.lm_adapters.drawing.enumerated import LONGEST, lm, reader, space

SMALL = {"length": (1, LONGEST), "alpha": 2.0, "chains": 4}
SAMPLERS = {
    "mh": {"steps": 6},
    "csmc": {"steps": 6, "particles": 3, "block": 2},
    "smc": {"particles": 30, "populations": 2, "block": 2, "moves": 1},
}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


def run(sampler: str, **options):
    return power("blue", model=lm(), sampler=sampler, **{**SMALL, **SAMPLERS[sampler], **options})


@samplers
def test_the_law_is_said_and_its_energy_is_alpha_times_that_of_the_stopped_text(sampler: str):
    found = run(sampler)
    by = type(lm().model).__name__
    assert found.target == (
        f"exp(-2 fluency), -log p(text | prompt) by {by}, over token sequences of length 1 to 4, cut off at 4"
    )
    sample = next(found.samples())
    x = lm().space.encode([sample["text"]], LONGEST)
    assert sample["energy"] == pytest.approx(2 * float(StoppedEnergy(reader(), LONGEST)(x)))
    assert sample["terms"] == {"fluency": sample["energy"]}
    assert found.summary()["cost"]["tokens"] > 0


def test_log_z_is_that_of_the_power():
    exact = float((-space(2.0).energies).logsumexp(dim=0))
    assert run("smc", particles=400).summary()["log_z"] == pytest.approx(exact, abs=0.15)


@samplers
def test_inside_a_nucleus(sampler: str):
    energy = 2 * StoppedEnergy(NucleusReader(reader(), 0.6), LONGEST)(space(1.0).states)
    found = run(sampler, top_p=0.6)
    assert " at top-p 0.6, over" in found.target
    inside = {text for text, nats in zip(lm().space.decode(space(1.0).states), energy, strict=True) if nats < math.inf}
    assert {sample["text"] for sample in found.samples()} <= inside
    assert len(inside) < len(energy)
    if sampler == "smc":
        log_z = run(sampler, top_p=0.6, particles=400).summary()["log_z"]
        assert log_z == pytest.approx(float((-energy).logsumexp(dim=0)), abs=0.15)


def test_a_temperature_divides_all_energies_and_own_ones_count():
    def blue(texts):
        return [float("blue" in text) for text in texts]

    found = run("smc", alpha=1.0, temperature=0.5, energies=[blue], particles=600)
    energy = (StoppedEnergy(reader(), LONGEST)(space(1.0).states) + torch.tensor(
        blue(lm().space.decode(space(1.0).states)), dtype=torch.float64
    )) / 0.5  # fmt: skip
    assert found.summary()["log_z"] == pytest.approx(float((-energy).logsumexp(dim=0)), abs=0.15)
    assert "exp(-(fluency + blue) / 0.5)" in found.target


@samplers
def test_forbidden_words_never_come(sampler: str):
    found = run(sampler, forbid=["red"])
    texts = [sample["text"] for sample in found.samples()]
    assert texts
    assert all("red" not in text.split() for text in texts)


def test_a_condition_that_nothing_meets_is_refused():
    with pytest.raises(InvalidInput, match=r"forbids all but 0 of|no text of up to 4 tokens meets"):
        run("mh", forbid=["red", "green", "blue"])


@samplers
def test_the_same_seed_gives_the_same_draws_and_a_run_is_read_again(sampler: str, tmp_path):
    first, kept = run(sampler), run(sampler, out=str(tmp_path / "run"))
    assert list(first.samples()) == list(kept.samples())
    assert list(run(sampler, out=str(tmp_path / "run")).samples()) == list(kept.samples())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["target"] == first.target


def test_a_run_of_chains_goes_on(tmp_path):
    whole = run("csmc", steps=8, warmup=2, thin=1)
    run("csmc", steps=5, warmup=2, thin=1, out=str(tmp_path / "run"))
    longer = run("csmc", steps=8, warmup=2, thin=1, out=str(tmp_path / "run"))
    assert list(longer.samples()) == list(whole.samples())


def test_the_command_draws_and_its_folder_is_reported(mcmc_text, tmp_path):
    options = "--sampler csmc --particles 3 --steps 4 --chains 2 --length 1:5 --out run --json".split()  # noqa: SIM905
    done = mcmc_text("power", "I like", *options)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
    assert report(str(tmp_path / "run")).summary()["chains"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "PROMPT is empty; give the beginning of a text"),
        ([" \n"], "PROMPT is empty"),
        (["I like", "--alpha", "0"], "--alpha is 0.0; give a finite number above 0"),
        (["I like", "--alpha", "-2"], "--alpha is -2.0"),
        (["I like", "--alpha", "inf"], "--alpha is inf"),
        (["I like", "--top-p", "0"], "--top-p is 0.0; give a number above 0"),
        (["I like", "--top-p", "0.9", "--pattern", "a+"], "--top-p leaves no token where what may follow is unlikely"),
        (["I like", "--model", "masked-en"], "--model 'masked-en' is a masked language model; give a causal"),
        (["I like", "--model", "seq2seq-en"], "--model 'seq2seq-en' is a seq2seq language model; give a causal"),
        (["I like", "--length", "0:4"], "'0:4' is no range of lengths"),
        (["I like", "--block", "0"], "--block"),
        (["I like", "--particles", "1"], "--particles"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(mcmc_text, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr(CausalLM, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    done = mcmc_text("power", *arguments)
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_what_does_not_fit_beside_the_prompt_is_refused():
    causal = tiny_models().causal
    room = causal.condition_on("music").max_length
    with pytest.raises(
        InvalidInput, match=f"length goes to {room + 1} tokens, and beside the 1 of prompt the model takes"
    ):
        power("music", model=causal, length=(1, room + 1))
    with pytest.raises(InvalidInput, match=r"the prompt has \d+ tokens and the model takes \d+ in all; shorten it"):
        power("music " * (room + 2), model=causal)
    with pytest.raises(InvalidInput, match=r"model .* is a MaskedLM; give a causal language model"):
        power("music", model=tiny.words_lm(["the", "sea"]))
