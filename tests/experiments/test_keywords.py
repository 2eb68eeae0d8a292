"""The same target by six samplers: every text holds the words, whatever draws it."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

from experiments.keywords import SAMPLERS, TEMPERATURE, keywords
from experiments.results.terminal import print_run
from lm_adapters import SequenceEnergy
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal

QUICK = {"chains": 3, "steps": 6, "warmup": 2, "thin": 2, "length": (3, 8)}


@pytest.fixture(scope="session")
def causal(embedded):
    return tiny_causal(embedded.space.tokenizer)


def texts_of(run) -> list[str]:
    return [line["text"] for line in run.samples()]


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "rejection"])
def test_every_text_holds_the_words_within_the_length(embedded, causal, sampler, capsys):
    run = keywords(["music", "night"], sampler=sampler, model=embedded, scorer=causal, shortlist=8, **QUICK)
    texts = texts_of(run)
    assert texts
    assert all(re.search(r"\bmusic\b.*\bnight\b", text) for text in texts)
    assert all(3 <= len(embedded.space.encode([text])[0]) <= 8 for text in texts)
    print_run(run)
    assert "cost" in capsys.readouterr().out


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "tempered"])
def test_energies_are_minus_the_log_probability_of_the_draws(embedded, causal, sampler):
    run = keywords(["music"], sampler=sampler, model=embedded, scorer=causal, shortlist=8, temperature=1.0, **QUICK)
    draws = run.trace.draws.flatten(0, 1)
    torch.testing.assert_close(
        run.trace.energy.flatten(), SequenceEnergy(causal.condition_on())(draws), rtol=0, atol=1e-4
    )
    assert run.trace.term_names == ("keywords", "fluency", "real words", "new texts")


def test_tempered_chains_have_a_barrier_that_asks_for_rungs(embedded, causal):
    run = keywords(["music"], sampler="tempered", model=embedded, scorer=causal, **QUICK)
    summary = run.summary()
    assert len(summary["swap_rates"]) == 7
    assert summary["barrier"] == pytest.approx(sum(1 - rate for rate in summary["swap_rates"]))
    assert f"which asks for {summary['rungs_wanted']}" in dict(run.facts(summary))["swaps"]
    assert "barrier" not in keywords(["music"], model=embedded, scorer=causal, **QUICK).summary()


def test_a_scorer_that_can_write_writes_the_end_anew(embedded, causal):
    run = keywords(["music"], model=embedded, scorer=causal, **{**QUICK, "steps": 30})
    assert run.trace.moves["suffix"].tried > 3
    assert "suffix" not in keywords(["music"], model=embedded, scorer=embedded, **QUICK).trace.moves


def test_words_may_repeat_be_phrases_and_come_in_any_order(embedded, causal):
    run = keywords(["night", "last night", "night"], any_order=True, model=embedded, scorer=causal, **QUICK)
    assert all(len(re.findall(r"\bnight\b", text)) >= 3 and "last night" in text for text in texts_of(run))


def test_rejection_draws_from_the_scorer_itself(embedded):
    """A model that likes to write "the" and to end there: what is kept holds it, and the bound of 0 is kept."""
    scorer = tiny_causal(embedded.space.tokenizer)
    the = int(embedded.space.encode(["the"])[0, 0])
    hidden = scorer.model.base_model(input_ids=torch.tensor([[scorer.start_id, the]])).last_hidden_state[0]
    for token, state in zip((the, scorer.eos_id), hidden, strict=True):
        scorer.model.lm_head.weight[token] = 12 * state / state.square().sum()
    run = keywords(["the"], sampler="rejection", model=embedded, scorer=scorer, **{**QUICK, "length": (1, 3)})
    assert len(texts_of(run)) == 3
    assert all(re.search(r"\bthe\b", text) for text in texts_of(run))
    assert run.result.trials <= 18


def test_rejection_without_luck_says_so(embedded, causal, capsys):
    run = keywords(["music", "night"], sampler="rejection", model=embedded, scorer=causal, **QUICK)
    assert texts_of(run) == []
    assert math.isnan(run.summary()["energy_mean"])
    print_run(run)
    assert "Nothing was drawn: none of" in capsys.readouterr().out


def test_rejection_needs_a_scorer_that_can_be_drawn_from(embedded):
    with pytest.raises(InvalidInput, match="give a causal one"):
        keywords(["music"], sampler="rejection", model=embedded, scorer=embedded, **QUICK)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rejection_needs_densities_that_are_not_rounded(embedded, dtype):
    scorer = tiny_causal(embedded.space.tokenizer)
    scorer.model.to(dtype)
    with pytest.raises(
        InvalidInput, match=f"the bound of rejection does not hold in {str(dtype)[6:]}: .* dtype float32"
    ):
        keywords(["the"], sampler="rejection", model=embedded, scorer=scorer, **QUICK)


@pytest.mark.parametrize("sampler", ["mh", "importance"])
def test_no_text_holds_a_forbidden_word(embedded, causal, sampler):
    forbid = ["the", "a", "in", "is", "to"]
    run = keywords(["music"], sampler=sampler, forbid=forbid, model=embedded, scorer=causal, **QUICK)
    assert not any(set(re.findall(r"\w+", text.lower())) & set(forbid) for text in texts_of(run))
    words = "that hold 'music', in real words, without 'the', 'a', 'in', 'is', 'to', new to the models"
    assert (
        run.target
        == f"exp(-fluency / {TEMPERATURE:g}) by LlamaForCausalLM, over token sequences of length 3 to 8 {words}"
    )


def test_the_seed_decides(embedded, causal):
    runs = [keywords(["music"], model=embedded, scorer=causal, seed=seed, **QUICK) for seed in (3, 3, 4)]
    first, again, other = (texts_of(run) for run in runs)
    assert first == again != other


def test_run_directory(embedded, causal, tmp_path):
    run = keywords(["music"], model=embedded, scorer=causal, out=str(tmp_path / "run"), **QUICK)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["words"] == ["music"]
    assert config["scorer"] == "LlamaForCausalLM"
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts_of(run)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["cost"]["forwards"] > 0
    assert {"replace", "insert", "delete", "block"} <= set(summary["moves"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "WORD"),
        (["<mask>"], "the keyword '<mask>' is spelt <mask> here, and <mask> is no text; use other words"),
        (["  "], "a keyword is empty"),
        (["one", "two", "three", "--length", "2"], "the keywords 'one', 'two', 'three'"),
        (["music", "--length", "3:500"], "--length"),
        (["last night", "--forbid", "night"], "the keyword 'last night' holds the forbidden word 'night'"),
        (["music", "--forbid", ""], "--forbid is empty"),
        (["music", "--sampler", "magic"], "--sampler"),
        (["music", "--shortlist", 0], "--shortlist"),
        (["music", "--scorer", "no-such-model"], "no-such-model"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(mcmc_text, arguments, named):
    result = mcmc_text("keywords", *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr
