"""Every command says the whole law that it draws from, in at most two lines of a terminal."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from experiments.compare import compare
from experiments.declaration.wording import Remark
from experiments.entry.experiment import experiment_of
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import TEMPERATURE, keywords
from experiments.laws.target import in_words
from experiments.paraphrase import paraphrase
from experiments.results.columns import fold
from experiments.summarize import summarize
from experiments.translate import translate
from lm_adapters import Canonical, CausalLM, LengthRange
from samplers import Constraint, Flat, named
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq
from tests.lm_adapters import tiny_causal as other_tokenizers

QUICK = {"chains": 2, "steps": 4, "warmup": 1, "thin": 1}
SEARCH = {"chains": 2, "steps": 3}


@cache
def reader() -> CausalLM:
    """With another tokenizer than the embedded models."""
    return other_tokenizers.build("gpt2")


def test_gibbs(embedded):
    fixed = gibbs(init="I like to play.", forbid=["Tom"], model=embedded, **QUICK)
    assert (
        fixed.target
        == "exp(-pll) by masked-en, over token sequences of length 5 in real words, without 'Tom', new to the models"
    )
    with pytest.warns(Remark, match="no step changes"):
        kept = gibbs(init="I like \U0001f600 music.", model=embedded, **QUICK)
    assert kept.target.endswith(" in which '\U0001f600' stays")


@pytest.mark.parametrize("sampler", ["mh", "importance", "anneal"])
def test_keywords(embedded, sampler):
    given = {"any_order": True, "forbid": ["the"], "nan": "raise" if sampler == "importance" else "reject"}
    run = keywords(
        ["night", "music"],
        sampler=sampler,
        model=embedded,
        scorer=tiny_causal(embedded.space.tokenizer),
        **QUICK,
        **given,
    )
    over = "by LlamaForCausalLM, over token sequences of length 3 to 16 that hold 'night', 'music' in any order, "
    over += "in real words, without 'the', new to the models"
    law = f"exp(-fluency / {TEMPERATURE:g})"
    expected = {
        "mh": f"{law} {over}, where no energy is NaN",
        "importance": f"{law} {over}",
        "anneal": f"fluency {over}, where no energy is NaN; temperature from 1 to 0.1",
    }[sampler]
    assert run.summary()["objective" if sampler == "anneal" else "target"] == expected
    assert dict(run.facts(run.summary()))["made small" if sampler == "anneal" else "target"] == expected


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "tempered", "importance", "anneal"])
def test_with_another_tokenizer_the_law_is_over_texts(embedded, sampler):
    run = keywords(["music"], sampler=sampler, model=embedded, scorer=reader(), length=(2, 6), shortlist=4, **QUICK)
    said = run.objective if sampler == "anneal" else run.target
    assert "fluency" in said
    assert " by GPT2LMHeadModel, over texts of 2 to 6 tokens that hold 'music'" in said
    x = {"importance": lambda: run.x, "anneal": lambda: run.found.x}.get(
        sampler, lambda: run.trace.draws.flatten(0, 1)
    )()
    assert len(x)
    assert bool(embedded.space.is_canonical(x).all())


def test_infill(embedded):
    template = "The [MASK] sat on the [MASK:1-3]."
    run = infill(template, model=embedded, scorer=tiny_causal(embedded.space.tokenizer), **QUICK)
    over = f"over token sequences of length 7 to 9 that fit {template!r}, in real words"
    assert run.target == f"exp(-fluency / {experiment_of(infill).temperature:g}) by LlamaForCausalLM, {over}"
    run = infill(template, model=embedded, scorer=reader(), seed=1, **QUICK)
    assert f"over texts of 7 to 9 tokens that fit {template!r}" in run.target
    assert bool(embedded.space.is_canonical(run.trace.draws.flatten(0, 1)).all())


def test_searches_say_what_they_make_small(embedded):
    scorer = tiny_causal(embedded.space.tokenizer)
    run = paraphrase("I would like to go home now.", model=embedded, scorer=scorer, **SEARCH)
    assert run.objective == (
        "fluency + 100 similarity + 2 source bleu, fluency by LlamaForCausalLM and similarity by "
        "masked-en, over token sequences of length 1 to 12 in real words; temperature from 1 to 0.1"
    )
    said = "Tom said that he would come home after work."
    run = summarize(said, max_words=6, reconstruction=0, model=embedded, scorer=scorer, **SEARCH)
    assert run.objective == (
        "fluency + 100 similarity, fluency by LlamaForCausalLM and similarity by masked-en, "
        "over token sequences of length 1 to 10 of at most 6 words, that end as a sentence does, in '.', in real "
        "words; temperature from 1 to 0.1"
    )


def test_translate(embedded):
    scorer = tiny_seq2seq(embedded.space.tokenizer)
    run = translate(
        "Je suis ici.", must_contain=["shut"], sampler="mh", model=embedded, scorer=scorer, prefix="", **QUICK
    )
    said = "exp(-translation) by T5ForConditionalGeneration, over token sequences of length 1 to "
    assert run.target.startswith(said)
    assert run.target.endswith(" that hold 'shut', in real words")


def test_compare(embedded, capsys):
    scorer = tiny_causal(embedded.space.tokenizer)
    found = compare(["music"], model=embedded, scorer=scorer, length=(2, 4), **QUICK)
    law = "by LlamaForCausalLM, over token sequences of length 2 to 4 that hold 'music', in real words"
    law += ", new to the models"
    said = {sampler: summary.get("target", summary.get("objective")) for sampler, summary in found.items()}
    assert said.pop("anneal") == f"fluency {law}; temperature from 1 to 0.1"
    assert set(said.values()) == {f"exp(-fluency / {TEMPERATURE:g}) {law}"}


def test_words():
    a, b = (named(name, lambda x: torch.zeros(len(x))) for name in "ab")
    assert in_words(a) == "exp(-a) over token sequences"
    assert in_words(a + 0.5 * b, lengths=(2, 2)) == "exp(-(a + 0.5 b)) over token sequences of length 2"
    assert in_words(Constraint("even", lambda x: x > 0)) == "uniform over token sequences given even"
    assert in_words(lambda x: x) == "exp(-<lambda>) over token sequences"
    assert in_words(Flat(), searched=True) == "flat over token sequences"


def test_words_of_constraints(embedded):
    energy = named("a", lambda x: torch.zeros(len(x))) + Canonical(embedded.space) + LengthRange(embedded.space, 2, 5)
    assert in_words(energy, scored_by={"b": "other"}) == "exp(-a) over texts of 2 to 5 tokens"


def test_a_terminal_shows_two_lines():
    long = "exp(-fluency) by causal-en, over token sequences that hold " + ", ".join(["'word'"] * 60)
    lines = fold(long, 75, 2)
    assert len(lines) == 2
    assert lines[1].endswith(" …")
    assert max(map(len, lines)) <= 75
    assert fold("short", 75, 2) == ["short"]
    assert fold(long, None, 2) == [long]
