"""``keywords --sampler smc``: log Z of the law, what is reported, and runs that stop."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import keywords
from experiments.paraphrase import paraphrase
from experiments.results.trust import about_populations
from experiments.translate import translate
from lm_adapters import Keywords, MaskedEnergy, SequenceEnergy, SourceBleu, Template
from samplers import InvalidInput, PopulationDied, SMCSample
from samplers.testing.targets import enumerate_states
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq, tiny_writer
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old"]


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS, scale=10.0)


def run(lm, **options):
    options = {"length": (2, 3), "chains": 5, "particles": 60, "moves": 2, "temperature": 1.0} | options
    return keywords(["sea"], model=lm, scorer=lm, sampler="smc", **options)


def texts(lm, shortest=2, longest=3):
    words, pad = lm.space.encode([" ".join(WORDS)])[0], lm.space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(shortest, longest + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, longest - part.shape[1]), value=pad) for part in parts])


def log_z(energy, x):
    return float((-energy(x)).logsumexp(dim=0))


def exact_log_z(lm):
    return log_z(Keywords(lm.space, ["sea"]) + MaskedEnergy(lm, "pll"), texts(lm))


MANY = {"sampler": "smc", "chains": 5, "particles": 400, "moves": 2, "temperature": 1.0}


def test_log_z_of_keywords_by_a_scorer_that_has_read_the_words(lm):
    writer = tiny_writer(lm.space.tokenizer, "words_to_sentence")
    found = keywords(["sea", "old"], model=lm, scorer=writer, length=(2, 3), **MANY)
    energy = Keywords(lm.space, ["sea", "old"]) + SequenceEnergy(writer.condition_on("sea old", ""))
    assert found.log_mass[0] < -1, "texts without the words were left out"
    assert found.summary()["log_z"] == pytest.approx(log_z(energy, texts(lm)), abs=0.3)


def test_log_z_of_a_causal_law_that_a_writer_begins(lm):
    causal, writer = tiny_causal(lm.space.tokenizer), tiny_writer(lm.space.tokenizer, "words_to_sentence")
    options = {"model": lm, "scorer": causal, "writer": writer, "length": (2, 3), **MANY}
    energy = Keywords(lm.space, ["sea", "old"]) + SequenceEnergy(causal.condition_on())
    exact = pytest.approx(log_z(energy, texts(lm)), abs=0.2)
    run = keywords(["sea", "old"], **options)
    assert run.summary()["log_z"] == exact
    assert run.result.uncovered == 0
    weighted = keywords(["sea", "old"], **options | {"sampler": "importance", "steps": 200})
    assert weighted.summary()["log_z"] == exact
    assert "log Z" in dict(weighted.facts(weighted.summary()))


@pytest.mark.parametrize("reads", [False, True])
def test_log_z_of_infill(lm, reads):
    scorer = tiny_causal(lm.space.tokenizer) if reads else lm
    found = infill("the [MASK:1-2]", model=lm, scorer=scorer, **MANY).summary()
    fluency = SequenceEnergy(scorer.condition_on()) if reads else MaskedEnergy(lm, "pll")
    assert found["log_z"] == pytest.approx(log_z(Template(lm.space, "the [MASK:1-2]") + fluency, texts(lm)), abs=0.2)


def test_log_z_of_paraphrase(lm):
    writer = tiny_writer(lm.space.tokenizer, "paraphrase")
    options = {"reconstruction": 0.0, "distance": 0.5}
    run = paraphrase("sea", model=lm, scorer=writer, **options, **MANY)
    energy = SequenceEnergy(writer.condition_on("sea", "")) + 0.5 * SourceBleu(lm.space, "sea")
    assert run.summary()["log_z"] == pytest.approx(log_z(energy, texts(lm, 1, 5)), abs=0.2)


def test_log_z_of_translate_with_a_word_that_must_come(lm, monkeypatch):
    writer = tiny_seq2seq(lm.space.tokenizer)
    monkeypatch.setattr(writer, "translate", lambda text, prefix: "the old")  # short, so that all texts can be listed
    monkeypatch.setattr("experiments.translate.LONGER", 2)
    run = translate("old", must_contain=["sea"], model=lm, scorer=writer, prefix="", **MANY)
    energy = Keywords(lm.space, ["sea"]) + SequenceEnergy(writer.condition_on("old", prefix=""))
    assert all("sea" in text.split() for text in run.texts())
    assert run.x.shape[1] == 5
    assert run.log_mass[0] == 0, "the word is pulled in: no text was left out"
    assert run.summary()["log_z"] == pytest.approx(log_z(energy, texts(lm, 1, 5)), abs=0.3)


def test_log_z_of_all_lengths_of_gibbs_together(lm):
    run = gibbs(length=(2, 4), model=lm, **MANY)
    assert run.summary()["log_z"] == pytest.approx(log_z(MaskedEnergy(lm, "pll"), texts(lm, 2, 4)), abs=0.2)
    assert run.target == "exp(-pll) by BertForMaskedLM, over token sequences of 2 to 4 tokens"
    with pytest.raises(InvalidInput, match="top_p is of a scorer's law here, and there is none"):
        gibbs(length=(2, 4), top_p=0.9, model=lm, **MANY)


def test_a_scorer_that_draws_nothing_is_refused(lm):
    with pytest.raises(InvalidInput, match="sampler smc draws its texts from the scorer: give one that reads"):
        paraphrase("sea", model=lm, scorer=lm, **MANY)


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


def test_a_mean_that_one_population_makes_has_no_small_error(lm):
    """Residuals of the others vanish with their weights; how far the populations differ does not."""
    run_of = run(lm, populations=4)
    size = len(run_of.result.x) // 4
    values = torch.tensor([17.0, 30.0, 25.0, 22.0], dtype=torch.float64).repeat_interleave(size)
    for log_z, least in ((torch.tensor([0.0, -9.0, -9.0, -9.0]), 5.0), (torch.zeros(4), 2.5)):
        result = replace(run_of.result, log_z=log_z.double())
        mean, error = replace(run_of, result=result).mean_of(values)
        assert error > least, "of the standard deviation 5.4 of four means"
        assert error < 6
        assert mean == pytest.approx(17.0 if least == 5 else 23.5, abs=0.1)


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
        (
            sample([1.0, 3.1, 0.9, 1.0], 20),
            "the populations do not agree: log Z is likely too low, and averages "
            "are those of a few texts; raise particles",
        ),
        (sample([1.0], 20), "how far populations agree is not known; give 4 populations or more"),
        (sample([1.0, 1.0, 1.0, 1.0], 20, 3), "Not to be trusted: 3 of 8 particles"),
    ],
    ids=["agree", "few ancestors", "disagree", "one", "uncovered"],
)
def test_trust_is_by_the_spread_of_the_populations(result, verdict):
    assert verdict in about_populations(result)
    assert not math.isnan(result.log_z_mean)
