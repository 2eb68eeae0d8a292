"""Summaries: from what a text can be rebuilt."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from experiments.starts.extracts import GAPS, extracts, with_two_gaps
from experiments.summarize import summarize
from lm_adapters import MaskedEnergy, Reconstruction, SequenceEnergy, word_spans
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_writer
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old"]
TEXT = "the sea is old"
QUICK = {"chains": 3, "steps": 8, "warmup": 2, "thin": 2}


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


@pytest.fixture(scope="module")
def rebuilder(lm):
    return tiny_writer(lm.space.tokenizer, "paraphrase", "words_to_sentence", "denoise")


def test_extracts_are_neighbouring_words_or_the_beginning_with_the_end():
    assert extracts("Tom said, I am old.", 2) == [
        "Tom said.",
        "Said, I.",
        "I am.",
        "Am old.",
        "Tom old.",
        "Tom.",
        "Said.",
        "I.",
        "Am.",
        "Old.",
    ]
    assert extracts("a b c", 2) == ["a b", "b c", "a c", "a", "b", "c"]


def test_two_inner_parts_are_left_out():
    assert with_two_gaps("a b c d e.", 3) == ["a c e."]
    assert with_two_gaps("a b c d e f.", 3) == ["a c f.", "a d f."]
    assert with_two_gaps("a b c d e f.", 4) == ["a c d f.", "a c e f.", "a b d f.", "a c f.", "a d f."]
    assert with_two_gaps("a b.", 1) == []
    many = with_two_gaps(" ".join(map(str, range(30))), 8)
    assert GAPS // 2 < len(many) <= GAPS
    assert {len(word_spans(text)) for text in many} == {7, 8}


@pytest.mark.parametrize("sampler", ["mh", "anneal"])
@pytest.mark.parametrize("tasks", [["paraphrase"], ["paraphrase", "words_to_sentence", "denoise"]])
def test_the_source_is_rebuilt_from_the_summary(lm, sampler, tasks):
    rebuilder = tiny_writer(lm.space.tokenizer, *tasks)
    given = {"rebuilder": rebuilder, "reconstruction": 2.0, "sampler": sampler}
    run = summarize(TEXT, max_words=3, model=lm, scorer=lm, **given, **QUICK)
    assert all(len(line["text"].split()) <= 3 for line in run.samples())
    found, said = (run.found, run.objective) if sampler == "anneal" else (run.trace, run.target)
    assert found.term_names == ("words", "fluency", "reconstruction", "paraphrase")
    assert "reconstruction = -log p(source | text) by T5ForConditionalGeneration" in said
    x = found.x if sampler == "anneal" else found.draws.flatten(0, 1)
    own = 2 * Reconstruction(rebuilder, TEXT)(x)
    torch.testing.assert_close(found.terms.reshape(len(x), -1)[:, 2], own, rtol=0, atol=1e-4)
    if sampler == "mh":
        assert ("rewrite" in run.trace.moves) == ("words_to_sentence" in tasks)


def test_chains_follow_the_law_of_the_target(lm, rebuilder):
    """The mean energy of all texts of one or two words."""
    texts = lm.space.encode([*WORDS, *(" ".join(pair) for pair in product(WORDS, WORDS))])
    like = SequenceEnergy(rebuilder.condition_on(TEXT))(texts)
    nats = MaskedEnergy(lm, "pll")(texts) + 0.5 * Reconstruction(rebuilder, TEXT)(texts) + 0.25 * like
    exact = float((nats * (-nats).softmax(dim=0)).sum())
    given = {"chains": 40, "steps": 120, "warmup": 20, "thin": 1, "scorer": lm, "rebuilder": rebuilder}
    run = summarize(TEXT, max_words=2, reconstruction=0.5, likeness=0.25, sampler="mh", model=lm, **given)
    assert run.trace.energy.mean().item() == pytest.approx(exact, abs=5 * run.summary()["energy_mcse"])


def test_a_search_begins_with_the_best_of_many(lm, rebuilder):
    run = summarize(TEXT, max_words=3, model=lm, scorer=lm, rebuilder=rebuilder, **QUICK)
    assert int(run.found.found_at.min()) == -1, "the best text of some chain is one that it began with"


def test_nothing_is_rebuilt_without_a_weight(lm):
    run = summarize(TEXT, max_words=3, model=lm, scorer=lm, rebuilder="there is none", reconstruction=0, **QUICK)
    assert run.objective.startswith("fluency + 100 similarity,")


def test_a_rebuilder_with_other_tokens_reads_the_text(lm):
    from tests.lm_adapters.tiny import word_level

    other = tiny_writer(word_level(["old", *WORDS[:3]]), "paraphrase", "words_to_sentence")
    run = summarize(TEXT, max_words=3, model=lm, scorer=lm, rebuilder=other, sampler="mh", **QUICK)
    assert "rewrite" not in run.trace.moves
    assert "over texts of" in run.target, "each text counts once"


def test_a_rebuilder_without_the_task_is_told_before_its_weights_are_read(mcmc_text, lm, tmp_path):
    folder = tmp_path / "other"
    tiny.save(tiny_writer(lm.space.tokenizer, "denoise").model, lm.space.tokenizer, folder)
    (folder / "model.safetensors").unlink()
    for rebuilder, why in ((folder, "its configuration lists denoise"), ("masked-en", "it is no seq2seq model")):
        result = mcmc_text("summarize", "Tom is here now.", "--max-words", "2", "--rebuilder", rebuilder)
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert f"--rebuilder {str(rebuilder)!r} has no task 'paraphrase' ({why}); give a model" in result.stderr


def test_a_loaded_rebuilder_without_the_task_is_told(lm):
    for other, why in ((tiny_writer(lm.space.tokenizer, "a"), "its configuration lists a"), (lm, "it is no seq2seq")):
        with pytest.raises(InvalidInput, match=f"has no task 'paraphrase' .{why}"):
            summarize(TEXT, max_words=2, model=lm, scorer=lm, rebuilder=other)
