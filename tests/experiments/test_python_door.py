"""Experiments as Python functions: signatures, functions as energies, runs as objects."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from experiments import Run, load_run
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import keywords
from experiments.results.safe_text import json_line
from experiments.setup.settings import SHARED
from samplers import Interrupted, InvalidInput, StoreError, named
from tests.lm_adapters import tiny

QUICK = {"chains": 3, "steps": 8, "warmup": 2, "thin": 2, "length": (3, 4)}


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(["the", "sea", "is", "old"])


def letters(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def ids(x: Tensor) -> Tensor:
    return x.double().mean(dim=1)


def test_a_signature_shows_every_argument():
    parameters = inspect.signature(keywords).parameters
    assert list(parameters)[:3] == ["words", "keywords_from", "keep"]
    assert set(SHARED) <= set(parameters)
    assert parameters["chains"].default == 6
    assert str(parameters["steps"]) == "steps: int | None = None"  # those of a search are others
    assert parameters["length"].annotation == tuple[int, int]
    assert str(parameters["scorer"]) == "scorer: str | CausalLM | MaskedLM | Seq2SeqLM = 'seq2seq-en'"
    assert str(inspect.signature(gibbs).parameters["init"]) == "init: str | None = None"
    assert "Option(" not in str(inspect.signature(keywords))
    assert "``warmup``: Steps not kept." in gibbs.__doc__


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"step": 3}, r"gibbs\(\) has no argument 'step'; did you mean 'steps'\?"),
        ({"burn_in": 3}, r"has no argument 'burn_in'; did you mean 'warmup'\?"),
        ({"temprature": 3}, r"did you mean 'temperature'\?"),
        ({"zzz": 3}, r"has no argument 'zzz'$"),
    ],
)
def test_a_misspelt_argument_is_told_with_the_nearest_name(given, told):
    with pytest.raises(TypeError, match=told):
        gibbs(**given)


def test_a_missing_argument_is_told():
    with pytest.raises(TypeError, match=r"infill\(\) missing a required argument: 'template'"):
        infill()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": "3"}, "steps is '3'; give a whole number"),
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"chains": 10**7}, "chains is 10000000; give at most 1000000"),
        ({"block": 0}, "block is 0; give at least 1"),
        ({"scan": "sideways"}, "scan is 'sideways'; choose one of 'random', 'systematic'"),
        ({"length": (9, 4)}, r"length is \(9, 4\); give two whole numbers"),
        ({"temperature": "hot"}, "temperature is 'hot'; give a number"),
        ({"temperature": 0.0}, "^temperature is 0"),
        ({"forbid": "the"}, "forbid is 'the'; give a list"),
        ({"energies": [lambda texts: texts]}, "a function without a name"),
        ({"energies": [3]}, "energies has 3; give functions"),
        ({"energies": [(letters, "heavy")]}, "energies has"),
        ({"energies": [(letters, float("inf"))]}, "the weight inf is not a finite number"),
        ({"energies": [letters, letters]}, "names 'letters' twice"),
        ({"energies": [letters], "workers": 2, "out": "run"}, "workers read energies from files"),
    ],
)
def test_bad_arguments_are_told_in_their_own_words(given, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=told):
        gibbs(**given)
    assert list(tmp_path.iterdir()) == []


def test_words_are_no_single_text():
    with pytest.raises(InvalidInput, match="words is 'music'; give a list"):
        keywords("music")


def test_functions_are_energies(lm, tmp_path):
    (tmp_path / "mine.py").write_text("def h(texts):\n    return [1.0 for _ in texts]\n")
    given = [letters, (ids, 2.0), (named("term", ids), 0.5), f"{tmp_path}/mine.py:h=3"]
    run = gibbs(model=lm, energies=given, **QUICK)
    assert run.trace.term_names == ("pll", "letters", "ids", "term", "h")
    assert run.config["energies"] == ["letters", "ids=2", "term=0.5", f"{tmp_path}/mine.py:h=3"]
    mean = ids(run.trace.draws.flatten(0, 1)).reshape(run.trace.energy.shape)
    lengths = torch.tensor([letters(texts) for texts in run.texts()], dtype=torch.float64)
    for number, wanted in enumerate((lengths, 2 * mean, 0.5 * mean, torch.full_like(mean, 3.0)), start=1):
        torch.testing.assert_close(run.trace.terms[..., number], wanted)


def test_a_run_with_a_function_resumes_with_it_and_not_without(lm, tmp_path, mcmc_text):
    how = {"model": lm, "out": str(tmp_path / "run"), **QUICK}
    gibbs(energies=[(letters, 2.0)], **how)
    assert gibbs(energies=[(letters, 2.0)], **how).spent.news
    with pytest.raises(InvalidInput, match="has energies of your own, 'letters=2'; give them again in energies"):
        gibbs(**how)
    result = mcmc_text("gibbs", "--resume", "run")
    assert (result.exit_code, "'letters=2'" in result.stderr) == (2, True)


@pytest.fixture(scope="module", params=["mh", "importance", "anneal"])
def both(request, lm, tmp_path_factory) -> tuple[Run, Run]:
    """A result, and its folder read again."""
    out = str(tmp_path_factory.mktemp("runs") / "run")
    how = {"model": lm, "scorer": lm, "sampler": request.param, "energies": [letters], "out": out, **QUICK}
    how["temperature"] = 1.0  # the terms are then what the energies give
    return keywords(["sea"], **how), load_run(out)


def test_a_folder_is_the_run_that_it_holds(both):
    run, saved = both
    assert saved.texts() == run.texts()
    assert list(saved.samples()) == list(run.samples())
    assert json_line(saved.summary()) == json_line(run.summary())
    assert repr(saved.summary()) == repr(run.summary()), "NaN is NaN again"
    assert saved.config["words"] == ["sea"]
    assert saved.heading() == run.heading()
    assert list(saved.shown()) == list(run.shown())
    assert isinstance(saved, Run)


def test_runs_become_data_frames(both):
    run, saved = both
    frame = run.to_pandas()
    assert frame.equals(saved.to_pandas())
    assert len(frame) == len(list(run.samples()))
    assert {"energy", "keywords", "fluency", "letters", "text"} <= set(frame)
    assert (frame["letters"] == frame["text"].str.len()).all()


def test_runs_become_arviz_trees(both):
    if both[0].config["sampler"] == "anneal":
        for each in both:
            with pytest.raises(InvalidInput, match="a search is no sample"):
                each.to_arviz()
        return
    for each in both:
        posterior = each.to_arviz()["posterior"]
        assert set(posterior.data_vars) == {"energy", "length", "keywords", "fluency", "letters"}
        assert posterior["energy"].dims == ("chain", "draw")
        assert posterior["energy"].attrs["units"] == "nats"
        assert (posterior["length"] == posterior["letters"]).all()
        frame = each.to_pandas()
        assert posterior["energy"].values.flatten().tolist() == frame["energy"].tolist()


def test_a_notebook_shows_the_texts_and_whether_to_trust_them(both):
    run, saved = both
    assert run._repr_html_() == saved._repr_html_()
    for _, energy, text in run.shown():
        assert f"{energy:.2f}" in run._repr_html_()
        assert text in run._repr_html_()
    assert "<style" not in run._repr_html_()


def test_a_notebook_shows_no_tag_of_a_text(lm):
    run = gibbs(model=lm, **QUICK)
    object.__setattr__(run, "space", _Hostile())
    assert "<img" not in run._repr_html_()
    assert "&lt;img" in run._repr_html_()


class _Hostile:
    def decode(self, x: Tensor) -> list[str]:
        return ["<img src=x onerror=alert(1)>"] * len(x)

    def lengths(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=torch.int64)


def test_a_plot_can_be_drawn(lm, tmp_path):
    plots = pytest.importorskip("arviz_plots")
    pytest.importorskip("matplotlib").use("agg")
    run = gibbs(model=lm, energies=[letters], **{**QUICK, "steps": 60})
    for plot in (plots.plot_trace, plots.plot_rank):
        drawn = plot(run.to_arviz(), var_names=["energy", "letters", "length"], backend="matplotlib")
        drawn.savefig(tmp_path / "plot.png")
        assert (tmp_path / "plot.png").stat().st_size > 5000


def test_what_is_no_finished_run_is_told(lm, tmp_path, stop_after):
    with pytest.raises(InvalidInput, match="holds no run"):
        load_run(tmp_path)
    stop_after(1)
    with pytest.raises(Interrupted):
        gibbs(model=lm, out=str(tmp_path / "run"), commit_every=2, **QUICK)
    with pytest.raises(InvalidInput, match=r"the run of 'gibbs' in .* is not finished; write its draws so far"):
        load_run(tmp_path / "run")


def test_a_spoiled_folder_is_told(lm, tmp_path):
    gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)
    path = tmp_path / "run" / "samples.jsonl"
    path.write_text(path.read_text() + '{"chain": 0}\n')
    with pytest.raises(StoreError, match=r"samples\.jsonl', line 10, is no sample"):
        load_run(tmp_path / "run").texts()
    (tmp_path / "run" / "summary.json").write_text("[]")
    with pytest.raises(StoreError, match=r"summary\.json' is damaged"):
        load_run(tmp_path / "run")
