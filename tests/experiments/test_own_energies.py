"""The user's own energies in a run: what is said of them early, afterwards, and of their cost."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from experiments.cli import main as mcmc_text
from experiments.entry.report import report
from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.pages.page import page
from experiments.paraphrase import paraphrase
from experiments.results.terminal import print_run
from samplers import EnergyError, EnergyTerm, InvalidInput
from tests.lm_adapters import tiny

QUICK = {"chains": 3, "steps": 12, "warmup": 4, "thin": 1, "length": (3, 4)}


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(["the", "sea", "is", "old"])


def never(texts: list[str]) -> list[float]:
    return [math.inf] * len(texts)


def zero(texts: list[str]) -> list[float]:
    return [0] * len(texts)


# Conditions that no chain meets


def test_a_condition_that_no_start_meets_is_said_at_the_start_and_named(lm):
    with (
        pytest.warns(UserWarning, match=r"energy 'never' forbids the start of every chain.*\(init\).*finite number"),
        pytest.raises(EnergyError, match=r"'never' forbids a state that would be kept as a draw at step 4 .*finite"),
    ):
        gibbs(model=lm, energies=[zero, never], **QUICK)


def test_it_is_said_once_more_and_not_for_each_step(lm):
    with pytest.warns(UserWarning, match="forbids") as caught, pytest.raises(EnergyError, match="'never' forbids"):
        gibbs(model=lm, energies=[never], **{**QUICK, "steps": 80, "warmup": 70})
    said = [str(warning.message) for warning in caught]
    assert [re.search(r"forbids (.*?),", each)[1] for each in said] == [
        "the start of every chain",
        "the text of every chain",
    ]
    assert "still after 50 steps" in said[1]


def test_nothing_is_said_where_one_chain_is_allowed(lm):
    def not_first(texts: list[str]) -> list[float]:
        return [math.inf if text.startswith("the") else 0.0 for text in texts]

    run = gibbs(model=lm, energies=[not_first], init="sea is old", **{**QUICK, "length": (3, 3)})
    assert not any(text.startswith("the") for chain in run.texts() for text in chain)


@pytest.mark.filterwarnings("ignore:energy 'never' forbids")
def test_a_search_that_finds_nothing_allowed_says_so(embedded):
    run = paraphrase("Tom is here.", model=embedded, energies=[never], chains=2, steps=6)
    assert run.summary()["trust"] == "Not to be trusted: 'never' forbids every text."
    print_run(run)


def test_importance_sampling_names_the_term(embedded):
    with pytest.raises(
        InvalidInput, match=r"all 8 draws are forbidden, by 'never'( and '[a-z ]+')*; give finite numbers"
    ):
        keywords(["the"], model=embedded, sampler="importance", energies=[never], chains=4, steps=2)


# Afterwards


class Late:
    """Another energy once the run has made ``after`` steps, which it counts as the run's ``progress``."""

    __name__ = "late"

    def __init__(self, after: int) -> None:
        self.after, self.steps = after, 0

    def count(self, steps: int) -> None:
        self.steps += steps

    def __call__(self, texts: list[str]) -> list[float]:
        return [len(text) + 5.0 * (self.steps > self.after) for text in texts]


def test_an_energy_that_changes_late_is_not_trusted(tmp_path):
    late, out = Late(12), str(tmp_path / "run")
    with pytest.warns(UserWarning, match=r"energy 'late' gives .* for this text in the run and .* afterwards"):
        run = gibbs(model="masked-en", energies=[(late, 2.0)], progress=late.count, out=out, **{**QUICK, "steps": 15})
    trust = run.summary()["trust"]
    found = re.match(r"Not to be trusted: energy 'late' gives (\d+) for this text in the run and (\d+) after", trust)
    assert int(found[2]) - int(found[1]) == 5
    assert page(run, run.summary()).count("Not to be trusted: energy &#39;late&#39;") == 1
    assert report(out).summary()["trust"] == trust  # which runs no energy


def test_an_honest_one_is(lm):
    assert gibbs(model=lm, energies=[(Late(1000), 2.0)], **QUICK).doubt == ""


# Cost and figures


def test_time_and_texts_of_each_term_are_reported(lm, tmp_path, capsys):
    def slow(texts: list[str]) -> list[float]:
        time.sleep(0.02 * len(texts))
        return [0.0] * len(texts)

    run = gibbs(model=lm, energies=[slow, zero], out=str(tmp_path / "run"), **QUICK)
    cost = json.loads((tmp_path / "run" / "summary.json").read_text())["cost_by_term"]
    assert list(cost) == sorted(cost, key=lambda name: -cost[name]["seconds"])
    assert set(cost) == {"slow", "zero", "pll"}
    assert cost["slow"]["texts"] > cost["pll"]["texts"] > QUICK["chains"]  # some are scored again, as a check
    assert cost["slow"]["seconds"] >= 0.02 * cost["slow"]["texts"]
    print_run(run)
    printed = capsys.readouterr().out
    assert re.search(rf"time of slow +\d+\.\d of \d+\.\d s for {cost['slow']['texts']} texts, \d+ ms each", printed)
    assert "time of zero" not in printed
    html = (tmp_path / "run" / "report.html").read_text()
    assert "Time by term" in html
    assert html.count(">zero<") == 1
    again = gibbs(model=lm, energies=[slow, zero], out=str(tmp_path / "run"), **{**QUICK, "steps": 20})
    assert again.spent.terms["slow"].states > cost["slow"]["texts"]


def test_a_term_that_is_always_0_is_shown(lm, capsys):
    print_run(gibbs(model=lm, energies=[zero], **QUICK))
    assert re.search(r"of it +pll \d+\.\d\d, zero 0\.00", capsys.readouterr().out)


def test_a_constraint_is_not(embedded, capsys):
    print_run(keywords(["the"], model=embedded, fluency="none", chains=2, steps=4, warmup=0, thin=1))
    assert "  of it  " not in capsys.readouterr().out


def shade(text: str) -> int:
    return sum(map(ord, text)) % 7


@pytest.mark.parametrize(
    "value",
    [
        lambda text: 1e18,
        lambda text: -1e300 * shade(text),
        lambda text: 1e308 if shade(text) % 2 else 1e307,
        lambda text: 1e308 if shade(text) % 2 else -1e308,
        lambda text: 1e-320 * shade(text),
    ],
)
def test_any_finite_numbers_give_a_page(lm, value, capsys):
    def extreme(texts: list[str]) -> list[float]:
        return [value(text) for text in texts]

    run = gibbs(model=lm, energies=[extreme], **QUICK)
    print_run(run)
    assert "extreme" in page(run, run.summary())
    assert max(map(len, capsys.readouterr().out.splitlines())) < 140


def test_what_is_below_all_numbers_is_an_error(lm):
    def low(texts: list[str]) -> list[float]:
        return [-1e308] * len(texts)

    def lower(texts: list[str]) -> list[float]:
        return [-1e308] * len(texts)

    with pytest.raises(EnergyError, match=r"'pll \+ low \+ lower' is below what a number can hold at the start"):
        gibbs(model=lm, energies=[low, lower], **QUICK)


# Energies that are terms


class Wish(EnergyTerm):
    name = "wish"

    def values(self, x, hint=None):
        return x.double().mean(dim=1) + torch.arange(len(x))


def test_terms_are_watched_too(lm):
    with pytest.raises(
        EnergyError, match=r"'wish' gives .* for this state at first and .* beside others .* at the start"
    ):
        gibbs(model=lm, energies=[Wish()], **QUICK)


# What user code prints


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "print('imported')\n\ndef f(texts):\n    print('called')\n    return [0.0 for _ in texts]\n"
    )
    Path("bad.py").write_text("def f(texts):\n    return [1 / 0 for _ in texts]\n")
    Path("texts.txt").write_text("Tom is here.\n")
    return tmp_path


def test_json_is_all_that_is_on_stdout(folder):
    for line in (
        "gibbs --chains 2 --steps 2 --warmup 0 --thin 1 --json --energy mine.py:f",
        "score texts.txt --energy mine.py:f",
    ):
        result = CliRunner().invoke(mcmc_text, line.split())
        assert result.exit_code == 0, result.stderr
        assert all("text" in json.loads(line) for line in result.stdout.splitlines())
        assert "imported" in result.stderr
        assert "called" in result.stderr


@pytest.mark.parametrize(
    "line", ["--debug score texts.txt --energy bad.py:f", "gibbs --debug --chains 2 --energy bad.py:f"]
)
def test_debug_shows_the_traceback(folder, line):
    result = CliRunner().invoke(mcmc_text, line.split())
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "return [1 / 0 for _ in texts]\n" in result.stderr
    assert "ZeroDivisionError: division by zero\n" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: energy 'f' raised ZeroDivisionError")
    plain = CliRunner().invoke(mcmc_text, line.replace("--debug ", "").split())
    assert "Traceback" not in plain.stderr
