"""Given words are frozen, slots have the lengths they were given, and the energies are those of the texts."""

from __future__ import annotations

import re

import pytest
import torch

from experiments.infill import infill
from lm_adapters import MaskedEnergy, SequenceEnergy
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny import word_level

QUICK = {"chains": 4, "steps": 8, "warmup": 2, "thin": 2}


@pytest.fixture(scope="session")
def causal(embedded):
    return tiny_causal(embedded.space.tokenizer)


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "anneal"])
@pytest.mark.parametrize(
    ("template", "fewest", "most"),
    [("The [MASK] sat on the [MASK].", 7, 7), ("[MASK:2-4] is my [MASK:1-3].", 6, 10)],
)
def test_frozen_text_stays_and_slots_keep_their_bounds(embedded, causal, sampler, template, fewest, most):
    run = infill(template, sampler=sampler, model=embedded, scorer=causal, shortlist=8, temperature=1.0, **QUICK)
    pattern = re.sub(r"(?:\\ )?\\\[MASK[^\]]*\]", ".+", re.escape(template))
    for line in run.samples():
        assert re.fullmatch(pattern, line["text"]), line["text"]
        assert line["terms"]["template"] == 0
    x = run.found.x if sampler == "anneal" else run.trace.draws.flatten(0, 1)
    lengths = embedded.space.lengths(x)
    assert fewest <= int(lengths.min()) <= int(lengths.max()) <= most
    energy = run.found.energy if sampler == "anneal" else run.trace.energy.flatten()
    torch.testing.assert_close(energy, SequenceEnergy(causal.condition_on())(x), rtol=0, atol=1e-4)


def test_a_masked_scorer_serves_too(embedded):
    run = infill("The [MASK] sat on the [MASK].", model=embedded, scorer=embedded, temperature=1.0, **QUICK)
    draws = run.trace.draws.flatten(0, 1)
    torch.testing.assert_close(run.trace.energy.flatten(), MaskedEnergy(embedded, "pll")(draws), rtol=0, atol=1e-4)


def test_chains_start_at_texts_that_a_scorer_with_other_tokens_can_read(embedded):
    nouns = ["dog", "man", "boy", "girl", "woman", "cat", "teacher", "old"]
    scorer = tiny_causal(word_level(["The", "sat.", *nouns]))
    run = infill("The [MASK:1-2] sat.", model=embedded, scorer=scorer, seed=3, **QUICK)
    assert {word for line in run.samples() for word in line["text"].split()} <= {"The", "sat.", *nouns}


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("No slot here.", "has no slot"),
        ("[MASK:0] is here.", "[MASK:0]"),
        ("[MASK:4-2] is here.", "[MASK:4-2]"),
        ("[MASK:x] is here.", "malformed"),
        ("The [MASK:1-500].", "TEMPLATE goes to"),
        ("", "has no slot"),
    ],
)
def test_bad_templates_are_one_line_and_exit_code_2(mcmc_text, template, named):
    result = mcmc_text("infill", template)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr
