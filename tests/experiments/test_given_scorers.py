"""Scorers that know what is wanted: ``-log p(text | source)`` by a task of a seq2seq model."""

from __future__ import annotations

import re

import pytest
import torch

from experiments.keywords import FLUENCY, SENTENCE, TEMPERATURE, WRITERS, keywords
from experiments.paraphrase import paraphrase
from lm_adapters import SequenceEnergy, tasks_of
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq, tiny_writer
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old"]
QUICK = {"chains": 3, "steps": 8, "warmup": 2, "thin": 2, "length": (2, 4)}


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


@pytest.fixture(scope="module")
def writer(lm):
    return tiny_writer(lm.space.tokenizer, "words_to_sentence")


@pytest.fixture
def folder(lm, tmp_path):
    """The folder of a seq2seq model whose configuration lists a task that is not wanted, and no weights."""
    model = tiny_writer(lm.space.tokenizer, "denoise").model
    tiny.save(model, lm.space.tokenizer, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    return tmp_path / "other"


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "anneal", "tempered", "rejection", "importance"])
@pytest.mark.parametrize("any_order", [False, True])
def test_every_sampler_draws_by_what_the_words_say(lm, writer, sampler, any_order):
    run = keywords(["sea", "old"], any_order=any_order, model=lm, scorer=writer, sampler=sampler, shortlist=3, **QUICK)
    texts = [line["text"] for line in run.samples()]
    order = r"\bsea\b.*\bold\b" + r"|\bold\b.*\bsea\b" * any_order
    assert texts or sampler == "rejection"
    assert all(re.search(order, text) for text in texts)
    said = run.objective if sampler == "anneal" else run.target
    law = "sentence" if sampler == "anneal" else f"exp(-sentence / {TEMPERATURE:g})"
    assert said.startswith(f"{law}, -log p(text | words) by T5ForConditionalGeneration, over token sequences of length")


def test_the_energy_is_that_of_the_text_given_the_words(lm, writer):
    run = keywords(["old", "sea"], any_order=True, model=lm, scorer=writer, temperature=1.0, **QUICK)
    draws = run.trace.draws.flatten(0, 1)
    own = SequenceEnergy(writer.condition_on("old sea", ""))(draws)
    torch.testing.assert_close(run.trace.energy.flatten(), own, rtol=0, atol=1e-4)
    assert run.trace.term_names == ("keywords", "sentence")
    assert {"suffix", "independent", "rewrite"} <= set(run.trace.moves)


@pytest.mark.parametrize("scores", ["the writer", "both", "a causal model"])
def test_chains_follow_the_law_of_the_target(lm, writer, scores, monkeypatch):
    """The mean energy of all texts of one or two words that hold the word, each counted ``exp(-energy)`` times."""
    monkeypatch.setattr("experiments.keywords.DRAWS", 4)
    causal = None if scores == "the writer" else tiny_causal(lm.space.tokenizer)
    texts = lm.space.encode(
        ["sea", *(f"sea {word}" for word in WORDS), *(f"{word} sea" for word in WORDS[:1] + WORDS[2:])]
    )
    scorer = causal if scores == "a causal model" else writer
    nats = SequenceEnergy(scorer.condition_on(*([] if scorer is causal else ["sea", ""])))(texts)
    if scores == "both":
        nats = SENTENCE * nats + FLUENCY * SequenceEnergy(causal.condition_on())(texts)
    exact = float((nats * (-nats).softmax(dim=0)).sum())
    chains = {"chains": 40, "steps": 100, "warmup": 20, "thin": 1}
    beside = {"writer": writer} if scorer is causal else {"fluency": causal}
    run = keywords(["sea"], model=lm, scorer=scorer, **beside, length=(1, 2), temperature=1.0, **chains)
    assert run.trace.moves["independent"].accepted > 10
    assert run.trace.energy.mean().item() == pytest.approx(exact, abs=5 * run.summary()["energy_mcse"])


@pytest.mark.parametrize("sampler", ["mh", "smc", "anneal", "tempered", "importance"])
def test_a_causal_model_stands_beside_the_writer(lm, writer, sampler):
    causal = tiny_causal(lm.space.tokenizer)
    run = keywords(["sea"], model=lm, scorer=writer, fluency=causal, sampler=sampler, **QUICK)
    law = f"{SENTENCE:g} sentence + {FLUENCY:g} fluency"
    said = run.objective if sampler == "anneal" else run.target
    assert said.startswith(law if sampler == "anneal" else f"exp(-({law}) / {TEMPERATURE:g})")
    assert "-log p(text | words) by T5ForConditionalGeneration and fluency by LlamaForCausalLM, over" in said


def test_rejection_draws_from_one_scorer(lm, writer, mcmc_text):
    result = mcmc_text("keywords", "sea", "--sampler", "rejection", "--fluency", "causal-en", "--model", "no such")
    assert result.exit_code == 2
    assert "--fluency has no meaning for --sampler rejection" in result.stderr
    causal = tiny_causal(lm.space.tokenizer)
    with pytest.raises(InvalidInput, match="fluency stands beside a seq2seq scorer, and this one gives fluency itself"):
        keywords(["sea"], model=lm, scorer=causal, fluency=causal, **QUICK)


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "anneal", "tempered"])
def test_a_writer_leaves_the_law_of_a_causal_scorer_as_it_is(lm, writer, sampler):
    causal = tiny_causal(lm.space.tokenizer)
    run, alone = (
        keywords(["sea"], model=lm, scorer=causal, writer=each, sampler=sampler, **QUICK) for each in (writer, "none")
    )
    said, before = (each.objective if sampler == "anneal" else each.target for each in (run, alone))
    assert said == before
    assert run.spent.cost.forwards > alone.spent.cost.forwards


def test_the_writer_of_a_scorer_is_there_by_default(lm, writer, monkeypatch, tmp_path):
    tiny.save(tiny_causal(lm.space.tokenizer).model, lm.space.tokenizer, tmp_path)
    monkeypatch.setitem(WRITERS, str(tmp_path), writer)
    given = {"model": lm, "scorer": str(tmp_path), **QUICK}
    assert "independent" in keywords(["sea"], **given).trace.moves
    assert "independent" not in keywords(["sea"], writer="none", **given).trace.moves
    assert "independent" not in keywords(["sea"], top_p=0.9, **given).trace.moves


def test_what_cannot_write_beside_a_scorer_is_refused(lm, writer):
    causal = tiny_causal(lm.space.tokenizer)
    beside = "writer stands beside a causal scorer with the tokenizer of model; leave it out"
    for scorer in (lm, writer):
        with pytest.raises(InvalidInput, match=beside):
            keywords(["sea"], model=lm, scorer=scorer, writer=writer, **QUICK)
    for other, why in ((causal, "it is no seq2seq model"), (tiny_writer(lm.space.tokenizer, "mend"), "lists mend")):
        with pytest.raises(InvalidInput, match=rf"writer .* has no task 'words_to_sentence' \(.*{why}\); .* or none"):
            keywords(["sea"], model=lm, scorer=causal, writer=other, **QUICK)


def test_a_search_begins_with_the_best_of_many(lm, writer, monkeypatch):
    monkeypatch.setattr("experiments.keywords.DRAWS", 1)
    run = keywords(["sea"], model=lm, scorer=writer, sampler="anneal", **QUICK)
    assert int(run.found.found_at.min()) == -1, "the best text of some chain is one that it began with"


def test_a_scorer_with_other_tokens_reads_the_text(lm):
    from tests.lm_adapters.tiny import word_level

    other = tiny_writer(word_level(["old", *WORDS[:3]]), "words_to_sentence")
    run = keywords(["sea"], model=lm, scorer=other, **QUICK)
    assert "sentence" in run.trace.term_names
    with pytest.raises(InvalidInput, match="rejection draws from the scorer: give a causal one or a seq2seq one with"):
        keywords(["sea"], model=lm, scorer=other, sampler="rejection", **QUICK)


def test_a_model_without_the_task_is_told_before_its_weights_are_read(mcmc_text, folder):
    result = mcmc_text("keywords", "sea", "--scorer", folder)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert (
        f"--scorer {str(folder)!r} has no task 'words_to_sentence' (its configuration lists denoise)" in result.stderr
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--fluency", "seq2seq-en"], "--fluency 'seq2seq-en' is a seq2seq model; give a causal or a masked language"),
        (
            ["--fluency", "causal-en", "--scorer", "causal-en"],
            "--fluency stands beside a seq2seq --scorer, and this one",
        ),
        (["--writer", "masked-en", "--scorer", "causal-en"], "--writer 'masked-en' has no task 'words_to_sentence'"),
        (
            ["--writer", "seq2seq-en"],
            "--writer stands beside a causal --scorer with the tokenizer of --model; leave it",
        ),
    ],
)
def test_models_that_do_not_stand_beside_each_other_are_not_loaded(mcmc_text, monkeypatch, given, message):
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", None)
    result = mcmc_text("keywords", "sea", *given)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_loaded_model_without_the_task_is_told(lm):
    for scorer, known in ((tiny_seq2seq(lm.space.tokenizer), "none"), (tiny_writer(lm.space.tokenizer, "a"), "a")):
        with pytest.raises(InvalidInput, match=f"has no task 'words_to_sentence' .its configuration lists {known}"):
            keywords(["sea"], model=lm, scorer=scorer, **QUICK)


@pytest.mark.parametrize("tasks", [None, {}, [1], {"a": None, "b": {"prefix": "c"}}])
def test_tasks_are_read_from_whatever_a_configuration_has(folder, tasks):
    import json

    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "task_specific_params": tasks}))
    assert tasks_of(str(folder)) == ({"a": {}, "b": {"prefix": "c"}} if tasks and isinstance(tasks, dict) else {})


@pytest.mark.parametrize("sampler", ["mh", "anneal"])
@pytest.mark.parametrize("tasks", [["paraphrase"], ["paraphrase", "words_to_sentence"]])
def test_a_paraphrase_is_likely_given_its_source_and_far_from_it(lm, sampler, tasks):
    scorer = tiny_writer(lm.space.tokenizer, *tasks)
    run = paraphrase("the sea is old", model=lm, scorer=scorer, sampler=sampler, chains=3, steps=12, warmup=2, thin=2)
    said = run.objective if sampler == "anneal" else run.target
    assert "paraphrase = -log p(text | source) by T5ForConditionalGeneration" in said
    assert "reconstruction = -log p(source | text) by T5ForConditionalGeneration" in said
    found = run.found if sampler == "anneal" else run.trace
    assert found.term_names == ("paraphrase", "reconstruction", "source bleu", "another")
    x = found.x if sampler == "anneal" else found.draws.flatten(0, 1)
    own = SequenceEnergy(scorer.condition_on("the sea is old", ""))(x)
    torch.testing.assert_close(found.terms.reshape(len(x), -1)[:, 0], own, rtol=0, atol=1e-4)


def test_a_scorer_that_does_not_read_the_source_is_held_to_its_meaning(lm):
    run = paraphrase("the sea is old", model=lm, scorer=lm, chains=2, steps=4)
    assert run.found.term_names == ("fluency", "similarity", "source bleu")
    assert run.summary()["objective"].startswith("fluency + 100 similarity + 2 source bleu")


def test_a_paraphrase_needs_the_task(lm, writer):
    with pytest.raises(InvalidInput, match=r"has no task 'paraphrase' .its configuration lists words_to_sentence"):
        paraphrase("the sea is old", model=lm, scorer=writer)
