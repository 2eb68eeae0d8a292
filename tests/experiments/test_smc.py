"""``keywords --sampler smc``: log Z of the law, what is reported, and runs that stop."""

from __future__ import annotations

import json
import math

import pytest
import torch

from experiments.keywords import keywords
from experiments.results.trust import about_populations
from lm_adapters import Keywords, MaskedEnergy
from samplers import InvalidInput, PopulationDied, SMCSample
from samplers.testing.targets import enumerate_states
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old"]


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS, scale=10.0)


def run(lm, **options):
    options = {"length": (2, 3), "chains": 5, "particles": 60, "moves": 2} | options
    return keywords(["sea"], model=lm, scorer=lm, sampler="smc", **options)


def exact_log_z(lm):
    words, pad = lm.space.encode([" ".join(WORDS)])[0], lm.space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in (2, 3)]
    x = torch.cat([torch.nn.functional.pad(part, (0, 3 - part.shape[1]), value=pad) for part in parts])
    energy = Keywords(lm.space, ["sea"]) + MaskedEnergy(lm, "pll")
    return float((-energy(x)).logsumexp(dim=0))


def test_log_z_is_that_of_the_law_whatever_the_density_of_the_fill_adds_up_to(lm):
    found = run(lm, particles=400).summary()
    assert found["log_z"] == pytest.approx(exact_log_z(lm), abs=0.2)
    assert found["populations"] == len(found["log_z_by_population"]) == 4
    assert found["trust"].startswith("log Z of 4 populations differs by")
    assert all(stages[-1] == 1 for stages in found["temperatures"])


def test_the_same_seed_gives_the_same_draws_and_a_finished_run_is_read(lm, tmp_path):
    first = run(lm)
    kept = run(lm, out=str(tmp_path / "run"))
    assert torch.equal(first.x, kept.x)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["log_z"] == first.summary()["log_z"]
    assert torch.equal(run(lm, out=str(tmp_path / "run")).result.x, first.result.x)
    labels = [label for label, _ in first.facts(first.summary())]
    assert {"log Z", "by population", "ancestors", "ESS by temperature", "lowest energy"} <= set(labels)
    assert len(list(first.samples())) == len(list(first.shown())) == 5


def test_a_population_that_died_says_what_to_do(lm):
    def steep(texts):
        return [1000.0 * len(text) + 37.0 * text.count("old") for text in texts]

    with pytest.raises(PopulationDied, match=r"draws of population 0 .* \(particles is 4\)"):
        run(lm, energies=[steep], particles=4, moves=1, length=(2, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"particles": 1}, "particles"), ({"populations": 0}, "populations"), ({"moves": 0}, "moves")],
    ids=str,
)
def test_bad_input(lm, options, message):
    with pytest.raises(InvalidInput, match=f"{message} is"):
        run(lm, **options)


def sample(log_z, ancestors, uncovered=0):
    count = len(log_z)
    x = torch.zeros(2 * count, 1, dtype=torch.int64)
    population = torch.arange(count).repeat_interleave(2)
    stages = ((1.0,),) * count
    estimates, left = torch.tensor(log_z, dtype=torch.float64), torch.tensor([ancestors] * count)
    return SMCSample(x, x[:, 0].double(), population, estimates, stages, stages, stages, left, 0, uncovered)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (sample([1.0, 1.1, 0.9, 1.0], 20), "in each (want 10): the populations agree."),
        (sample([1.0, 1.1, 0.9, 1.0], 9), "the populations agree, but few ancestors are left; raise particles"),
        (sample([1.0, 3.1, 0.9, 1.0], 20), "the populations do not agree; raise particles"),
        (sample([1.0], 20), "how far populations agree is not known; give 4 populations or more"),
        (sample([1.0, 1.0, 1.0, 1.0], 20, 3), "Not to be trusted: 3 of 8 particles"),
    ],
    ids=["agree", "few ancestors", "disagree", "one", "uncovered"],
)
def test_trust_is_by_the_spread_of_the_populations(result, verdict):
    assert verdict in about_populations(result)
    assert not math.isnan(result.log_z_mean)
