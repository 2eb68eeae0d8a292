"""A text rewritten to a label: the law beside enumeration, the two kinds of classifier, and every refusal."""

from __future__ import annotations

import json
from itertools import product

import pytest
import torch
from torch.testing import assert_close

from experiments.controlling.control import control
from lm_adapters import (
    Coherence,
    LabelEnergy,
    MeanPooled,
    NextSentenceModel,
    Reconstruction,
    SequenceClassifier,
    SequenceEnergy,
    Similarity,
    Whitened,
    ZeroShotClassifier,
)
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal, tiny_writer
from tests.lm_adapters import tiny
from tests.lm_adapters.attributes import tiny_classifiers

WORDS = ["the", "sea", "is", "old"]
QUICK = {"chains": 4, "steps": 8, "warmup": 2, "thin": 2}


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


@pytest.fixture(scope="module")
def causal(lm):
    scorer = tiny_causal(lm.space.tokenizer)
    tiny.enlarged(scorer.model, 10.0)
    return scorer


@pytest.fixture(scope="module")
def writer(lm):
    rebuilder = tiny_writer(lm.space.tokenizer, "paraphrase", "words_to_sentence")
    tiny.enlarged(rebuilder.model, 2.0)
    return rebuilder


@pytest.fixture(scope="module")
def classifier(lm):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = tiny_classifiers.bert(lm.space.tokenizer)
    return SequenceClassifier(tiny.enlarged(model, 10.0), lm.space.tokenizer)


def test_chains_follow_the_law_of_the_target(lm, causal, writer, classifier, monkeypatch):
    monkeypatch.setattr("experiments.controlling.control.LONGER", 1)
    chains = {"chains": 40, "steps": 100, "warmup": 20, "thin": 1, "temperature": 1.0}
    how = {"model": lm, "scorer": causal, "rebuilder": writer, "classifier": classifier}
    run = control("sea", label="glad", sampler="mh", strength=2.0, reconstruction=0.5, likeness=0.7, **how, **chains)
    texts = [" ".join(words) for n in (1, 2) for words in product(WORDS, repeat=n)]
    x = lm.space.encode(texts)
    parts = [(1.0, SequenceEnergy(causal.condition_on())), (0.7, SequenceEnergy(writer.condition_on("sea")))]
    parts.append((0.5, Reconstruction(writer, "sea")))
    nats = sum(weight * part(x) for weight, part in [*parts, (2.0, LabelEnergy(lm.space, classifier, 1))])
    exact = float((nats * (-nats).softmax(dim=0)).sum())
    assert run.trace.energy.mean().item() == pytest.approx(exact, abs=5 * run.summary()["energy_mcse"])
    assert run.trace.term_names == ("fluency", "attribute", "paraphrase", "reconstruction")
    assert "2 attribute" in run.target
    assert "attribute = -log p(glad | text) by BertForSequenceClassification" in run.target
    assert {"suffix", "rewrite", "independent"} <= set(run.trace.moves)


@pytest.mark.parametrize("sampler", ["anneal", "mh"])
def test_a_masked_model_chooses_between_words(lm, causal, writer, sampler):
    how = {"template": "{text} is {label}", "against": ["sea", "the"], "classifier": lm, "label": "old"}
    run = control("the sea is", model=lm, scorer=causal, rebuilder=writer, sampler=sampler, **how, **QUICK)
    x = run.found.x if sampler == "anneal" else run.trace.draws.flatten(0, 1)
    terms = run.found.terms if sampler == "anneal" else run.trace.terms.flatten(0, 1)
    expected = LabelEnergy(lm.space, ZeroShotClassifier(lm, "{text} is {label}", ["old", "sea", "the"]), "old")(x)
    assert_close(terms[:, 1], 20 * expected, rtol=1e-4, atol=1e-4)


def test_a_text_may_have_to_follow_another(lm, causal, writer, classifier):
    model, tokenizer = tiny_classifiers.next_sentence(WORDS)
    follower = NextSentenceModel(model, tokenizer)
    how = {"after": "the sea", "follower": follower, "coherence": 0.5, "label": "0"}
    run = control("sea is old", model=lm, scorer=causal, rebuilder=writer, classifier=classifier, **how, **QUICK)
    assert_close(
        run.found.terms[:, 4], 0.5 * Coherence(lm.space, follower, "the sea")(run.found.x), rtol=1e-4, atol=1e-4
    )
    assert "0.5 coherence" in run.objective


def test_a_strong_wish_makes_the_label_likelier(lm, causal, writer, classifier):
    how = {"model": lm, "scorer": causal, "rebuilder": writer, "classifier": classifier, **QUICK}
    before = classifier.log_probs(["sea is old"])[0]
    for number, label in enumerate(classifier.labels):
        best = control("sea is old", label=label, strength=1000.0, **how).best()
        assert classifier.log_probs([best])[0, number] > before[number]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--label", "glum"], "--classifier 'folder': there is no label 'glum'; the classifier has calm, glad, Sad"),
        (["--label", "3"], "--classifier 'folder': there is no label '3'; the classifier has calm, glad, Sad"),
        (["--label", "glad", "--against", "sad"], "--against is for a masked model with a --template; leave it out"),
        (
            ["--label", "glad", "--template", "{text} {label}", "--against", "sad", "--classifier", "causal-en"],
            "--classifier 'causal-en': a --template is for a masked language model, and it is none",
        ),
        (["--label", "glad", "--template", "{text} {label}"], "--template needs words to compare 'glad' with"),
        (["--label", "glad", "--after", "Hello."], "--after needs --follower; give both, or leave both out"),
        (["--label", "glad", "--classifier", "regression"], "is a regression model: it gives a number and no label"),
        (["--label", "glad", "--classifier", "nosuch"], "no model 'nosuch': it is no embedded model"),
        (["--label", "glad", "--strength", "-1"], "--strength"),
        (["--label", "glad", "--whiten", "nosuch.txt"], "--whiten: 'nosuch.txt' cannot be read (No such file"),
        (["--label", "glad", "--whiten", "one.txt"], "--whiten: 'one.txt' has 1 different texts; give at least two"),
    ],
)
def test_what_cannot_be_is_refused_before_any_weights(mcmc_text, tmp_path, classifier, monkeypatch, options, problem):
    tiny.save(classifier.model, classifier.space.tokenizer, tmp_path / "folder")
    (tmp_path / "folder" / "model.safetensors").unlink()
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    (tmp_path / "one.txt").write_text("the sea\n\nthe sea\n")
    (tmp_path / "regression").mkdir()
    (tmp_path / "regression" / "config.json").write_text(json.dumps({**config, "id2label": {"0": "score"}}))
    monkeypatch.setattr("experiments.setup.job.load_masked", lambda *given: pytest.fail("a model is loaded"))
    result = mcmc_text("control", "I like music.", "--classifier", "folder", *options, "--out", "run")
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert not (tmp_path / "run").exists()


def test_words_that_a_masked_model_cannot_compare(lm, causal, writer):
    how = {"template": "{text} {label}", "classifier": lm, "label": "old"}
    with pytest.raises(InvalidInput, match="template needs words to compare 'old' with; give against"):
        control("sea is", model=lm, scorer=causal, rebuilder=writer, **how, **QUICK)
    with pytest.raises(InvalidInput, match="classifier: the model has no token for the label word 'cold'"):
        control("sea is", model=lm, scorer=causal, rebuilder=writer, against=["cold"], **how, **QUICK)


def test_whitened_embeddings_keep_a_text_close_where_nothing_is_rebuilt(lm, causal, writer, classifier, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(" ".join(pair) for pair in product(WORDS, repeat=2)))
    how = {
        "model": lm,
        "scorer": causal,
        "classifier": classifier,
        "label": "calm",
        "whiten": str(tmp_path / "texts.txt"),
    }
    run = control("sea is old", reconstruction=0.0, similarity=3.0, **how, **QUICK)
    texts = (tmp_path / "texts.txt").read_text().splitlines()
    like = Similarity(lm.space, Whitened.fit(MeanPooled(lm.model, lm.space.tokenizer), texts), "sea is old")
    assert_close(run.found.terms[:, 2], 3 * like(run.found.x), rtol=1e-4, atol=1e-4)
    with pytest.raises(InvalidInput, match="whiten is for the similarity, which has weight 0; give similarity"):
        control("sea is old", rebuilder=writer, **how, **QUICK)
