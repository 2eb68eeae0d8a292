"""Paraphrase, summary and translation: what they start from, what they keep, what they refuse."""

from __future__ import annotations

import re

import pytest
import torch

from experiments.paraphrase import paraphrase
from experiments.summarize import summarize
from experiments.translate import put_in, translate
from lm_adapters import Keywords, MeanPooled, SequenceEnergy, Similarity, SourceBleu
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq, tiny_writer

QUICK = {"chains": 3, "steps": 6, "warmup": 2, "thin": 2}
LONG = "Tom said that he would come to the old house by the sea after work."


@pytest.fixture(scope="session")
def causal(embedded):
    return tiny_causal(embedded.space.tokenizer)


@pytest.fixture(scope="session")
def seq2seq(embedded):
    return tiny_seq2seq(embedded.space.tokenizer)


def texts_of(run) -> list[str]:
    return [line["text"] for line in run.samples()]


def test_a_paraphrase_adds_up_fluency_meaning_and_wording(embedded, causal):
    source = "I like to play the piano."
    run = paraphrase(source, sampler="mh", model=embedded, scorer=causal, similarity=3.0, distance=0.5, **QUICK)
    draws = run.trace.draws.flatten(0, 1)
    meaning = MeanPooled(embedded.model, embedded.space.tokenizer)
    terms = [
        SequenceEnergy(causal.condition_on())(draws),
        3.0 * Similarity(embedded.space, meaning, source)(draws),
        0.5 * SourceBleu(embedded.space, source)(draws),
    ]
    found = run.trace.terms.flatten(0, 1)
    torch.testing.assert_close(found[:, :3], torch.stack(terms, dim=1), rtol=0, atol=1e-4)
    assert not found[:, 3:].any(), "real words cost nothing"
    assert run.target == (
        "exp(-(fluency + 3 similarity + 0.5 source bleu)), fluency by LlamaForCausalLM and similarity by "
        "masked-en, over token sequences of length 1 to 11 in real words"
    )


def test_annealing_gives_the_best_of_each_chain(embedded, causal):
    run = paraphrase("Tom is here.", model=embedded, scorer=causal, **QUICK)
    assert len(run.texts()) == 3
    assert run.best() in run.texts()
    assert run.summary()["trust"].startswith("A search, not a sample")


def test_what_no_step_can_change_stays_and_is_remarked_on(embedded, causal):
    with pytest.warns(UserWarning, match=r"no step changes '\U0001f600', '\\t' in text: tokens that are no text by"):
        run = paraphrase(" I am \U0001f600 here\tnow. ", sampler="mh", model=embedded, scorer=causal, **QUICK)
    assert all(text.count("\U0001f600") == text.count("\t") == 1 for text in texts_of(run))


@pytest.mark.parametrize("sampler", ["anneal", "mh"])
def test_a_summary_has_no_more_words_than_allowed(embedded, causal, sampler):
    models = {"model": embedded, "scorer": causal, "rebuilder": tiny_writer(embedded.space.tokenizer, "paraphrase")}
    run = summarize(LONG, max_words=5, sampler=sampler, **models, **QUICK)
    assert all(len(text.split()) <= 5 for text in texts_of(run))


def test_a_summary_must_be_shorter_than_its_text(embedded):
    with pytest.raises(InvalidInput, match="text has 3 words and max_words is 3"):
        summarize("Tom is here.", max_words=3, model=embedded)


@pytest.mark.parametrize("sampler", ["anneal", "mh"])
def test_a_translation_holds_the_words_and_is_scored_given_its_source(embedded, seq2seq, sampler):
    source = "Je suis ici."
    run = translate(
        source, must_contain=["music", "night"], sampler=sampler, model=embedded, scorer=seq2seq, prefix="", **QUICK
    )
    assert all(re.search(r"\bmusic\b", text) and re.search(r"\bnight\b", text) for text in texts_of(run))
    x = run.found.x if sampler == "anneal" else run.trace.draws.flatten(0, 1)
    energy = run.found.energy if sampler == "anneal" else run.trace.energy.flatten()
    torch.testing.assert_close(
        energy, SequenceEnergy(seq2seq.condition_on(source), name="forward")(x), rtol=0, atol=1e-4
    )


def test_missing_words_are_put_where_they_cost_least(embedded, causal):
    space = embedded.space
    x = space.encode(["Tom plays at home."])[0]
    energy = SequenceEnergy(causal.condition_on())
    done = put_in(["Tom", "music", "home"], False, x, energy, space)
    assert bool(Keywords(space, ["Tom", "music", "home"]).found(done.unsqueeze(0)))
    music = space.encode(["music"])[0]
    fits = torch.stack([torch.cat([x[:slot], music, x[slot:]]) for slot in range(1, 4)])  # before "home"
    assert done.tolist() == fits[int(energy(fits).argmin())].tolist()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["paraphrase", ""], "TEXT"),
        (["paraphrase", "word " * 200], "TEXT has"),
        (["paraphrase", "Tom is here.", "--similarity", "much"], "--similarity"),
        (
            ["paraphrase", "Tom is here.", "--forbid", "tom", "--scorer", "causal-en"],
            "the start 'Tom is here.' breaks the constraint",
        ),
        (["summarize", LONG], "--max-words"),
        (["summarize", LONG, "--max-words", 0], "--max-words"),
        (["summarize", LONG, "--max-words", 50], "--max-words is 50"),
        (["translate", "Je suis ici.", "--must-contain", ""], "a keyword is empty"),
        (["translate", "Je suis ici.", "--scorer", "masked-en"], "a seq2seq model is needed here"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(mcmc_text, arguments, named):
    result = mcmc_text(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr
