"""What is shown of a run: a search ranked and each text once, a sample as it was drawn, and how to get more."""

from __future__ import annotations

import math

import pytest

from experiments.keywords import keywords
from experiments.results.headings import ranked
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old"]


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


def test_ranks_are_by_energy_and_each_text_has_one():
    found = [(2.0, "b"), (math.inf, "d"), (1.0, "a"), (2.0, "b"), (1.5, "a"), (3.0, "c")]
    assert list(ranked(found)) == [(1, 1.0, "a"), (2, 2.0, "b"), (3, 3.0, "c"), (4, math.inf, "d")]


def test_a_search_shows_each_text_once_best_first_and_keeps_all(lm):
    run = keywords(["sea"], model=lm, scorer=lm, sampler="anneal", length=(2, 3), chains=12, steps=20)
    shown = list(run.shown())
    assert run.heading()[0] == "rank"
    assert [rank for rank, _, _ in shown] == list(range(1, len(set(run.texts())) + 1))
    assert len(shown) < 12 == len(list(run.samples()))
    assert [energy for _, energy, _ in shown] == sorted(energy for _, energy, _ in shown)
    assert shown[0][2] == run.best()


@pytest.mark.parametrize("sampler", ["mh", "importance"])
def test_a_sample_says_how_to_get_more(lm, sampler, mcmc_text, tmp_path):
    tiny.save(lm.model, lm.space.tokenizer, tmp_path / "lm")
    models = ["--model", tmp_path / "lm", "--scorer", tmp_path / "lm"]
    sizes = ["--length", "2:3", "--steps", 4, "--chains", 2]
    result = mcmc_text("keywords", "sea", *models, *sizes, "--sampler", sampler)
    assert result.exit_code == 0, result.stderr
    assert "--chains N for more)" in result.stdout.splitlines()[0]
