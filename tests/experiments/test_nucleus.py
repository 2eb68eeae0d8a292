"""``--top-p`` of commands that rewrite a text, by enumeration of all texts of four words; and of ``score``."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import product

import pytest
import torch
from torch.testing import assert_close
from transformers import T5ForConditionalGeneration

from experiments.controlling.control import control
from experiments.gibbs import FLUENCY, PLL, gibbs
from experiments.laws.top_p import given_tokens
from experiments.paraphrase import paraphrase
from experiments.score import score
from experiments.summarize import summarize
from experiments.translate import translate
from lm_adapters import Keywords, MaskedEnergy, NucleusEnergy, Seq2SeqLM, SequenceClassifier, SequenceEnergy
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal, tiny_writer
from tests.lm_adapters import tiny
from tests.lm_adapters.attributes import tiny_classifiers

WORDS = ("sea", "is", "the", "old")
TOP_P, LONGEST = 0.6, 5
CHAINS = {"chains": 24, "steps": 36, "warmup": 20, "thin": 1, "sampler": "mh"}
COMMANDS = ("paraphrase", "paraphrase by a causal model", "summarize", "control", "translate", "translate with a word")


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


@pytest.fixture(scope="module")
def writer(lm):
    """Of a seed by which some of its texts, and not all, are inside."""
    config = tiny_writer(lm.space.tokenizer, "paraphrase").model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(23)
        return Seq2SeqLM(T5ForConditionalGeneration(config), lm.space.tokenizer)


@pytest.fixture(scope="module")
def causal(lm):
    model = tiny_causal(lm.space.tokenizer)
    tiny.enlarged(model.model, 8.0)
    return model


@pytest.fixture(scope="module")
def classifier(lm):
    return SequenceClassifier(tiny_classifiers.bert(lm.space.tokenizer), lm.space.tokenizer)


def texts(lm, longest):
    every = [" ".join(words) for size in range(1, longest + 1) for words in product(WORDS, repeat=size)]
    return lm.space.encode(every, width=LONGEST)


def command(name, lm, writer, causal, classifier):
    """The run as a function of the options, the model that scores, and what it reads; all texts, and the lock."""
    every, lock = texts(lm, LONGEST), None
    if name == "summarize":
        run = partial(summarize, "the sea is old old", max_words=3, scorer=causal, reconstruction=0, similarity=0)
        return run, causal.condition_on(), texts(lm, 3), lock
    if name == "control":
        run = partial(control, "sea", label="calm", classifier=classifier, strength=0, scorer=causal)
        return partial(run, reconstruction=0, similarity=0), causal.condition_on(), every, lock
    if name == "paraphrase by a causal model":
        run = partial(paraphrase, "sea", scorer=causal, similarity=0, distance=0)
        return run, causal.condition_on(), every, lock
    if name == "paraphrase":
        run = partial(paraphrase, "sea", scorer=writer, reconstruction=0, distance=0)
        return run, writer.condition_on("sea"), every[1:], lock
    run = partial(translate, "sea", scorer=writer)
    if name == "translate with a word":
        run, lock = partial(run, must_contain=["is"]), Keywords(lm.space, ["is"])
    return run, writer.condition_on("sea"), every, lock


@pytest.mark.parametrize("name", COMMANDS)
def test_chains_follow_the_truncated_law(name, lm, writer, causal, classifier, monkeypatch):
    monkeypatch.setattr("experiments.translate.LONGER", 2)
    monkeypatch.setattr(Seq2SeqLM, "translate", lambda *_, **__: "sea is the")
    run, reader, every, lock = command(name, lm, writer, causal, classifier)
    done = run(top_p=TOP_P, model=lm, **CHAINS)
    assert f" at top-p {TOP_P:g}{' but for given words' * (lock is not None)}" in done.target
    own = NucleusEnergy(reader, TOP_P, exempt=given_tokens(lock) if lock else None)
    draws = done.trace.draws.flatten(0, 1)
    found = done.trace.energy.flatten()
    assert_close(found, own(draws), rtol=0, atol=1e-4)
    longest = done.trace.draws.shape[2]
    assert longest <= LONGEST
    held = every[lm.space.lengths(every) <= longest]
    held = held if lock is None else held[lock(held) == 0]
    nats = own(held)
    law, mcse = (-nats).softmax(dim=0), done.summary()["energy_mcse"]
    inside = law > 0
    assert 3 < int(inside.sum()) < len(held)
    assert found.mean().item() == pytest.approx(float((nats * law)[inside].sum()), abs=5 * mcse)
    plain = SequenceEnergy(reader)(held)
    assert abs(found.mean().item() - float((plain * (-plain).softmax(dim=0)).sum())) > 5 * mcse


@pytest.mark.parametrize("name", ["paraphrase", "translate with a word"])
@pytest.mark.parametrize("sampler", ["anneal", "smc"])
def test_every_sampler_stays_inside(name, sampler, lm, writer, causal, classifier):
    run, *_ = command(name, lm, writer, causal, classifier)
    few = {"chains": 4, "steps": 4, "warmup": 1, "thin": 1, **({"particles": 64} if sampler == "smc" else {})}
    done = run(top_p=TOP_P, model=lm, sampler=sampler, **few)
    assert all(math.isfinite(line["energy"]) for line in done.samples())


@pytest.mark.parametrize("sampler", ["mh", "smc"])
def test_gibbs_beside_a_scorer(sampler, lm, causal):
    few = {**CHAINS, "steps": 50} if sampler == "mh" else {"particles": 128, "moves": 2}
    run = gibbs(scorer=causal, model=lm, top_p=TOP_P, length=(2, 4), **{**few, "sampler": sampler})
    assert f"fluency by LlamaForCausalLM at top-p {TOP_P:g} and pll by" in run.target
    every = texts(lm, 4)[len(WORDS) :, :4]
    nucleus, pll = NucleusEnergy(causal.condition_on(), TOP_P)(every), MaskedEnergy(lm, "pll")(every)
    inside = nucleus < math.inf
    assert 3 < int(inside.sum()) < len(every)
    nats = (FLUENCY * nucleus + PLL * pll)[inside]
    mcse = run.summary()["energy_mcse"]
    assert run.summary()["energy_mean"] == pytest.approx(float((nats * (-nats).softmax(dim=0)).sum()), abs=5 * mcse)
    assert mcse < 0.2


def test_no_start_inside(lm, writer):
    with pytest.raises(InvalidInput, match=r"^no text that the scorer draws within top_p 0.6 is allowed by the rest"):
        paraphrase("sea", scorer=writer, model=lm, top_p=TOP_P, forbid=WORDS[1:], **CHAINS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *(([name, *given, "--top-p", value], f"--top-p is {float(value)}; give a number above 0 and at most 1")
          for name, *given in (["paraphrase", "a b"], ["translate", "a b"], ["summarize", "a b", "--max-words", "1"],
                               ["control", "a b", "--label", "question"], ["compare", "music"], ["score", "texts.txt"])
          for value in ("0", "1.5")),
        (["score", "texts.txt", "--temperature", "0"], "--temperature is 0.0; give a finite number above 0"),
        (["score", "texts.txt", "--top-p", "0.9"], "--top-p is for models here that read from left to right"),
    ],
)  # fmt: skip
def test_refused(arguments, said, mcmc_text, tmp_path):
    (tmp_path / "texts.txt").write_text("a b\n")
    done = mcmc_text(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_scorer_of_other_tokens_has_no_nucleus_here(lm):
    other = tiny_writer(tiny.word_level(["old", *WORDS[:3]]), "paraphrase")
    for run in (partial(paraphrase, "sea is"), partial(translate, "sea is")):
        with pytest.raises(InvalidInput, match=r"^top_p 0.9 needs a scorer that reads from left to right and has the"):
            run(scorer=other, model=lm, top_p=0.9, **CHAINS)


# Score


def test_scores_of_a_law(writer, causal, monkeypatch, mcmc_text, tmp_path):
    given = {"causal": causal, "writer": writer}
    monkeypatch.setattr("experiments.scoring.terms.named_model", lambda name, *_: given[name])
    monkeypatch.setattr("experiments.scoring.terms.find_plugin", lambda kind, name: name)
    lines = [{"text": text, "source": source} for text in ("old is", "the") for source in ("sea", "is is")]
    found = list(score(lines, models=["writer"], temperature=0.5, top_p=TOP_P))
    for line, said in zip(lines, found, strict=True):
        own = NucleusEnergy(writer.condition_on(line["source"]), TOP_P)(writer.space.encode([line["text"]]))
        assert said["energy"] == pytest.approx(2 * float(own), abs=1e-4)
    forbidden = sum(said["energy"] == math.inf for said in found)
    assert 0 < forbidden < len(found)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = mcmc_text("score", "texts.jsonl", "--top-p", TOP_P, "--temperature", 0.5, "--model", "writer")
    assert done.exit_code == 0, done.stderr
    assert [json.loads(line)["energy"] for line in done.stdout.splitlines()].count("inf") == forbidden
    assert f'{forbidden} of {len(lines)} texts are forbidden: their energy is "inf"' in done.stderr
    (plain,) = score(["old is"], models=["causal"], top_p=TOP_P)
    own = NucleusEnergy(causal.condition_on(), TOP_P)(writer.space.encode(["old is"]))
    assert plain["energy"] == pytest.approx(float(own), abs=1e-4)
