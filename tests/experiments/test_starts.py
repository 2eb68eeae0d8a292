"""Half of the chains start from below: the same after a stop and with more steps, counted, said, and not made twice."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from experiments.compare import row
from experiments.entry.report import report
from experiments.entry.saved_run import load_run
from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.results.terminal import print_run
from experiments.results.trust import about_chains
from experiments.starts import low
from experiments.starts.low import below_among
from experiments.starts.made import STARTS
from samplers import Diagnostics, Interrupted, StartComparison, StoreError
from tests.experiments.tiny_scorers import tiny_causal

QUICK = {"steps": 40, "warmup": 12, "thin": 4, "length": (3, 8)}


@pytest.fixture(scope="session")
def causal(embedded):
    return tiny_causal(embedded.space.tokenizer)


@pytest.fixture
def run(embedded, causal):
    return lambda **how: keywords(["music"], model=embedded, scorer=causal, **{**QUICK, "chains": 5, **how})


@pytest.fixture
def no_annealing(monkeypatch):
    def refuse(*_):
        raise AssertionError("starts are made again")

    return lambda: monkeypatch.setattr(low, "_annealed", refuse)


@pytest.mark.parametrize(
    ("lengths", "below"),
    [
        ([0] * 4, [True, False, True, False]),
        ([6, 7, 8, 6, 7, 8], [True, False, True, False, True, False]),
        ([6, 7, 6, 7], [True, False, False, True]),
        ([5], [True]),
    ],
)
def test_half_of_the_chains_of_each_length_start_from_below(lengths, below):
    assert below_among(lengths).tolist() == below


def test_every_length_of_gibbs_has_both_where_there_are_two_chains_of_it():
    lengths = [6 + chain % 7 for chain in range(14)]
    below = below_among(lengths).tolist()
    assert {(n, b) for n, b in zip(lengths, below, strict=True)} == {
        (n, b) for n in range(6, 13) for b in (True, False)
    }


def test_what_both_find_is_in_every_result(run, tmp_path, capsys):
    out = tmp_path / "run"
    found = run(out=str(out))
    summary = found.summary()
    energy, below = found.trace.energy, torch.tensor([True, False, True, False, True])
    assert found.from_below.tolist() == below.tolist()
    assert summary["energy_from_below"] == pytest.approx(float(energy[below].mean()))
    assert summary["energy_from_above"] == pytest.approx(float(energy[~below].mean()))
    assert [s["start"] for s in found.samples() if s["step"] == 15] == ["below", "above", "below", "above", "below"]
    print_run(found)
    printed = capsys.readouterr().out
    assert f"from below {summary['energy_from_below']:.2f} +- " in printed
    assert "of it for starts" in printed
    assert summary["ess_per_million_tokens"] == pytest.approx(1e6 * summary["ess_bulk"] / summary["cost"]["tokens"])
    assert "Means from below and above" in (out / "report.html").read_text()
    saved = load_run(out)
    assert saved.to_pandas()["start"].tolist() == [s["start"] for s in found.samples()]
    assert saved.to_arviz()["posterior"]["start"].values.tolist() == ["below", "above", "below", "above", "below"]
    again = report(out, model="masked-en")
    assert again.from_below.tolist() == below.tolist()
    assert again.spent.cost == found.spent.cost


def test_starts_cost_and_are_said_to(run):
    with_starts = run()
    tokens, seconds = with_starts.spent.starts
    assert 0 < tokens < with_starts.spent.cost.tokens
    assert 0 < seconds < with_starts.spent.seconds
    assert with_starts.spent.terms["fluency"].states > 5 * 40


def test_a_run_that_was_stopped_and_one_with_more_steps_start_from_the_same(run, tmp_path, stop_after, no_annealing):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first = run(out=str(whole), shard_size=3, commit_every=10)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(2)
        with pytest.raises(Interrupted):
            run(out=str(parts), shard_size=3, commit_every=10)
        patch.undo()
    stopped = load_run(parts)
    assert {s["start"] for s in stopped.samples()} == {"below", "above"}
    no_annealing()
    resumed = run(out=str(parts), shard_size=3, commit_every=10)
    assert (parts / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    # Tensors, not bytes: beside them the file holds the seconds that the starts took.
    kept, made = load_file(parts / STARTS), load_file(whole / STARTS)
    assert kept.keys() == made.keys() == {"x", "from_below"}
    assert all(torch.equal(kept[name], made[name]) for name in made)
    assert resumed.spent.starts[0] == first.spent.starts[0]
    longer = run(out=str(parts), shard_size=3, commit_every=10, steps=60)
    assert longer.from_below.tolist() == first.from_below.tolist()
    assert longer.trace.energy.shape == (5, 12)


def test_a_folder_without_starts_is_reported_without_them(run, tmp_path):
    out = tmp_path / "run"
    run(out=str(out))
    (out / STARTS).unlink()
    again = report(out, model="masked-en")
    assert again.from_below is None
    assert all("start" not in sample for sample in again.samples())


def test_starts_that_are_none_of_the_run_are_refused(run, tmp_path):
    out = tmp_path / "run"
    run(out=str(out))
    (out / STARTS).write_bytes((out / STARTS).read_bytes()[:-8])
    with pytest.raises(StoreError, match=r"starts\.safetensors' is damaged"):
        run(out=str(out), steps=50)


def test_the_user_has_the_last_word_on_starts(embedded):
    given = gibbs(model=embedded, init="We sang all night.", chains=4, steps=4, warmup=1, thin=1)
    assert given.from_below is None
    assert math.isnan(given.summary()["energy_from_below"])
    uncorrected = gibbs(model=embedded, correct="none", length=(4, 4), chains=4, steps=4, warmup=1, thin=1)
    assert uncorrected.from_below is None


def test_one_chain_starts_as_ever(run):
    assert run(chains=1).from_below is None


def figures(p_value, left=0.5, difference=7.6):
    below, above = 26.9, 26.9 + difference
    return StartComparison(below, 0.4, above, 0.6, difference, difference / math.hypot(0.4, 0.6), p_value, left)


def line(by_start, r_hat=1.002, ess=5000.0):
    energy = Diagnostics(mean=30.0, mcse=0.1, ess_bulk=ess, ess_tail=ess, r_hat=r_hat)
    return about_chains(energy, chains=10, kept=500, compared=10, by_start=by_start)


def test_the_line_says_where_the_halves_disagree_with_both_numbers_and_what_to_do():
    begun = "R-hat 1.002 (want 1.01), 5,000 effective draws (want 1,000): the chains depend on where they started, "
    both = "26.9 +- 0.4 nats from below and 34.5 +- 0.6 from above"
    end = " The texts themselves were not judged."
    assert line(figures(1e-4)) == f"{begun}{both}; give about 3 times the steps.{end}"
    assert line(figures(1e-4, left=0.5), ess=10.0).endswith(f"{both}; give about 100 times the steps.{end}")
    stuck = f"{begun}{both}, and do not draw nearer; more steps alone will hardly help.{end}"
    for left in (0.95, 1.3, -0.5, math.nan):
        assert line(figures(1e-4, left=left)) == stuck


def test_the_line_does_not_cry_wolf():
    plain = line(None)
    assert line(figures(0.02)) == line(figures(math.nan)) == plain
    assert "agree on the energy" in plain


def test_the_table_of_compare_has_efficiency(run):
    summary = json.loads(json.dumps(run().summary()))
    assert f"{summary['ess_per_million_tokens']:.3g}" in row("mh", summary)
