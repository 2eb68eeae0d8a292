"""Exact draws by rejection have the law that enumeration gives, and samplers are compared with them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from experiments.evaluating import truth_pool
from experiments.evaluating.estimate import Estimate, of_independent, of_run
from experiments.evaluating.truth_pool import BATCH, fill_pool
from lm_adapters import Keywords, SequenceDistribution, SequenceEnergy
from samplers import InvalidInput, StoreError
from samplers.testing import enumerate_states
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny_causal import words_lm

WORDS = ("ape", "bee", "cow", "dog")
LENGTHS = (2, 4)
DRAWS = 25 * BATCH


@pytest.fixture(scope="module")
def lm():
    return words_lm(WORDS, seed=1, scale=2.0)


@pytest.fixture(scope="module")
def distribution(lm):
    return SequenceDistribution(lm.condition_on(), min_length=LENGTHS[0], max_length=LENGTHS[1])


def fill(folder, distribution, draws=DRAWS, seed=0):
    return fill_pool(folder, distribution, draws, seed, lambda _: None)


@pytest.fixture(scope="module")
def pool(tmp_path_factory, distribution):
    return fill(tmp_path_factory.mktemp("pool") / "pool", distribution)


def enumerated(lm, words):
    """``energy, length`` of every text that holds the words."""
    ids = lm.space.encode([" ".join(WORDS)])[0]
    rows = []
    for length in range(LENGTHS[0], LENGTHS[1] + 1):
        x = torch.full((len(WORDS) ** length, LENGTHS[1]), lm.space.pad_id)
        x[:, :length] = ids[enumerate_states(len(WORDS), length)]
        rows.append(x)
    x = torch.cat(rows)
    x = x[Keywords(lm.space, words).found(x)]
    return SequenceEnergy(lm.condition_on())(x), lm.space.lengths(x).double()


def exact(lm, words):
    energy, length = enumerated(lm, words)
    log_z = (-energy).logsumexp(dim=0)
    weight = (-energy - log_z).exp()
    return (weight * energy).sum().item(), (weight * length).sum().item(), log_z.item()


def distances(found, truth):
    """From the exact values, in standard errors: of energy, length, log Z."""
    energy, length, log_z = truth
    return (
        (found.energy - energy) / found.energy_error,
        (found.length - length) / found.length_error,
        (found.log_z - log_z) / found.log_z_error,
    )


SETS = (("ape",), ("dog",), ("cow", "bee"), ("bee", "bee"))


@pytest.mark.parametrize("words", SETS, ids=" ".join)
def test_draws_have_the_law_that_enumeration_gives(lm, pool, words):
    found = pool.holding(words)
    assert found.draws > 30
    assert max(map(abs, distances(found, exact(lm, words)))) < 5


def accept_all(monkeypatch):
    monkeypatch.setattr("samplers.randomness.log_uniform", lambda count, _: torch.full((count,), -math.inf))


def forget_the_rejected(monkeypatch):
    real = truth_pool._read
    monkeypatch.setattr(truth_pool, "_read", lambda *where: tuple(part[::2] for part in real(*where)))


@pytest.mark.parametrize("fault", [accept_all, forget_the_rejected])
def test_faults_are_seen(lm, distribution, tmp_path, monkeypatch, fault):
    fault(monkeypatch)
    pool = fill(tmp_path, distribution)
    assert max(abs(z) for words in SETS for z in distances(pool.holding(words), exact(lm, words))) > 7


def test_a_pool_that_was_stopped_goes_on_to_the_same_draws(pool, distribution, tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_pool(tmp_path / "pool", distribution, DRAWS, 0, stop)
    assert len(list((tmp_path / "pool").glob("draws-*"))) == 1
    fill(tmp_path / "pool", distribution, BATCH + 1)
    again = fill(tmp_path / "pool", distribution)
    assert again.tried == pool.tried == DRAWS
    assert torch.equal(again.x, pool.x)
    assert torch.equal(again.energy, pool.energy)


def test_a_pool_of_another_law_is_refused(lm, distribution, tmp_path):
    fill(tmp_path, distribution, 1)
    shorter = SequenceDistribution(lm.condition_on(), min_length=1, max_length=LENGTHS[1])
    other = words_lm(WORDS, seed=2, scale=2.0)
    others = SequenceDistribution(other.condition_on(), min_length=LENGTHS[0], max_length=LENGTHS[1])
    for given, seed in ((shorter, 0), (others, 0), (distribution, 1)):
        with pytest.raises(InvalidInput, match=r"pool\.json"):
            fill(tmp_path, given, 1, seed)


def test_a_folder_with_other_files_is_refused(distribution, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InvalidInput):
        fill(tmp_path, distribution, 1)


def test_damaged_draws_are_one_line(distribution, tmp_path):
    fill(tmp_path, distribution, 1)
    path = tmp_path / "draws-00000.npz"
    for spoilt in (b"", path.read_bytes()[:-20]):
        path.write_bytes(spoilt)
        with pytest.raises(StoreError, match="has no draws"):
            fill(tmp_path, distribution, 1)
    np.savez(path, x=np.zeros((3, 9), np.int32), energy=np.zeros(3))
    with pytest.raises(StoreError, match="has no draws"):
        fill(tmp_path, distribution, 1)


def test_estimates_of_a_few_draws():
    found = of_independent("rejection", torch.tensor([1.0, 3.0]), torch.tensor([2, 4]), 8)
    assert (found.energy, found.energy_error) == (2, pytest.approx(1))
    assert (found.length, found.length_error) == (3, pytest.approx(1))
    assert found.log_z == math.log(2 / 8)
    assert found.log_z_error == pytest.approx(math.sqrt(0.75 / 2))
    other = Estimate("mh", 9, 5.0, 0.0, 4.0, 0.0, (1, 2, 3))
    assert other.apart(found) == (pytest.approx(3), pytest.approx(1))
    none = of_independent("rejection", torch.zeros(0), torch.zeros(0), 8)
    assert (none.draws, none.log_z) == (0, -math.inf)
    assert math.isnan(none.energy)


@pytest.fixture
def tiny(embedded, monkeypatch):
    causal = tiny_causal(embedded.space.tokenizer)
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda *_, **__: embedded)
    monkeypatch.setattr("lm_adapters.CausalLM.from_pretrained", lambda *_, **__: causal)
    monkeypatch.setattr("experiments.keywords.WRITERS", {})  # none has these tokens


SMALL = ("--out", "truth", "--draws", 1, "--length", "3:5", "--steps", 8, "--chains", 2)


def test_the_command_compares_and_resumes(tiny, mcmc_text, monkeypatch):
    asked = ("evaluate", "truth", *SMALL, "--words", "the", "--words", "a dog", "--sampler", "mh", "--json",
             "--sampler", "importance")  # fmt: skip
    first = mcmc_text(*asked)
    assert first.exit_code == 0, first.output
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    names = [(" ".join(row["words"]), row["name"]) for row in rows]
    assert names == [(words, name) for words in ("the", "a dog") for name in ("rejection", "mh", "importance")]
    assert all(row["tried"] == BATCH for row in rows)
    monkeypatch.setattr(truth_pool, "_accepted", lambda *_: pytest.fail("drawn again"))
    assert mcmc_text(*asked).stdout == first.stdout


def test_the_table_fits_eighty_columns(tiny, mcmc_text):
    result = mcmc_text("evaluate", "truth", *SMALL, "--words", "the")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "the: " in result.stdout


@pytest.mark.parametrize("options", [["--words", " "], ["--words", "dog\u200b\x01"], ["--scorer", "masked-en"]])
def test_bad_input_is_one_line_and_draws_nothing(embedded, mcmc_text, monkeypatch, options):
    monkeypatch.setattr(truth_pool, "_accepted", lambda *_: pytest.fail("drawn"))
    result = mcmc_text("evaluate", "truth", *SMALL, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1


def test_chains_are_worth_their_effective_draws(tiny):
    from experiments.keywords import keywords

    run = keywords(["the"], steps=40, warmup=0, thin=1, chains=2, length=(3, 5))
    found, figures = of_run("mh", run), run.summary()
    assert (found.energy, found.energy_error) == (figures["energy_mean"], figures["energy_mcse"])
    assert found.draws == figures["ess_bulk"]
    assert found.length == pytest.approx(figures["length_mean"])
    assert found.quantiles[0] <= found.quantiles[1] <= found.quantiles[2]
