"""Experiments, energies and models of others: from files anywhere, and from packages, sound or broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from experiments import Job, TextRun, experiment
from tests.lm_adapters import tiny

TINY = ("--chains", 3, "--steps", 6, "--warmup", 2, "--thin", 2, "--shard-size", 2, "--model", "tiny")
WALK = '''
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated, Literal
from experiments import Job, Option, Problem, TextRun, experiment, sample_chains
import helper_of_walk
if TYPE_CHECKING:
    from nowhere import Absent

@experiment(steps=30, thin=1)
def walk(job: Job, text: str, *, mood: Literal["glad", "sad"] = "glad",
         depth: Annotated[int, Option("How deep.", minimum=1)] = helper_of_walk.DEPTH,
         other: str | Absent = "x") -> TextRun:
    """Walk about TEXT.

    At length.
    """
    from lm_adapters import GibbsProposal, MaskedEnergy
    from samplers import MetropolisHastings

    lm = job.masked_lm()
    x0 = lm.space.encode([text] * job.settings.chains)
    energy = job.with_custom(MaskedEnergy(lm, "pll"), lm.space)
    return sample_chains(Problem(lm.space, energy, x0, {"model": lm}), MetropolisHastings(GibbsProposal(lm, 1)), job)
'''

ALONE = WALK.replace("import helper_of_walk\n", "").replace("helper_of_walk.DEPTH", "1")


@pytest.fixture
def walk(tmp_path: Path) -> str:
    """A file with an experiment, beside a module that it imports, and a tiny model."""
    lm = tiny.build("roberta", scale=1.0)
    tiny.save(lm.model, lm.space.tokenizer, tmp_path / "tiny")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "helper_of_walk.py").write_text("DEPTH = 3\n")
    (tmp_path / "mine" / "walk.py").write_text(WALK)
    return "mine/walk.py"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package: its modules, and what it registers."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def install(name: str, code: str, **groups: str) -> None:
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[mcmc_text.{group}]\n{entry}\n" for group, entry in groups.items()]
        (folder / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{name}.py").write_text(code)
        sys.modules.pop(name, None)

    return install


def refused(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_a_file_runs_resumes_and_has_workers(mcmc_text, walk, tmp_path):
    done = mcmc_text("run", walk, "the pupil", *TINY, "--out", "alone", "--json")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3 * 2
    assert json.loads((tmp_path / "alone/config.json").read_text())["depth"] == 3
    assert (tmp_path / "alone/report.html").exists()
    parts = mcmc_text("run", walk, "the pupil", *TINY, "--out", "parts", "--workers", 2)
    assert parts.exit_code == 0, parts.output
    assert (tmp_path / "parts/samples.jsonl").read_bytes() == (tmp_path / "alone/samples.jsonl").read_bytes()
    longer = mcmc_text("run", walk, "--resume", "parts", "--steps", 8)
    assert longer.exit_code == 0, longer.output
    before = set((tmp_path / "alone/samples.jsonl").read_text().splitlines())
    assert before < set((tmp_path / "parts/samples.jsonl").read_text().splitlines())


def test_a_file_that_is_stopped_says_how_to_resume_it(mcmc_text, walk, stop_after):
    stop_after(1)
    stopped = mcmc_text("run", walk, "the pupil", *TINY, "--commit-every", 2, "--out", "a run")
    assert stopped.exit_code == 130
    assert stopped.stderr.strip().endswith("resume with: mcmc-text run mine/walk.py --resume 'a run'")


def test_a_file_explains_itself(mcmc_text, walk):
    shown = mcmc_text("run", walk, "--help").stdout
    assert "Walk about TEXT." in shown
    assert "At length" not in shown
    assert "[default: 3; x>=1]" in " ".join(shown.split())
    assert "--mood [glad|sad]" in shown
    assert "[default: 30;" in shown
    assert "FILE.py" in mcmc_text("run", "--help").stdout


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("", "declares no experiment"),
        ("from experiments.gibbs import gibbs\n", "declares no experiment"),
        (f"{ALONE}\n\n@experiment()\ndef stroll(job: Job) -> TextRun: ...\n", "declares 2 experiments (walk, stroll)"),
        ("x = 1\ny = {}['z']\n", "raised KeyError: 'z' [mine.py:2: y = {}['z']]"),
        ("def f(:\n", "raised SyntaxError"),
        ("from experiments import experiment\n\n@experiment()\ndef f(job): ...\n", "declares no result"),
        ("from experiments import experiment\n\n@experiment()\ndef f(job, x) -> None: ...\n", "'x' has no type"),
        ("from experiments import experiment\n\n@experiment()\ndef f(job, x: set) -> None: ...\n", "no command line"),
        (
            "from experiments import experiment\n\n@experiment()\ndef f(job, seed: int) -> None: ...\n",
            "every experiment",
        ),
        ("from experiments import experiment\n\n@experiment(speed=1)\ndef f(job) -> None: ...\n", "sets 'speed'"),
    ],
)
def test_a_file_that_cannot_be_one_is_one_line(mcmc_text, tmp_path, code, told):
    (tmp_path / "mine.py").write_text(code)
    assert told in refused(mcmc_text("run", "mine.py"))


@pytest.mark.parametrize("given", ["gone.py", "mine.yaml", ".py", "folder.py"])
def test_what_is_no_file_of_python_is_one_line(mcmc_text, tmp_path, given):
    (tmp_path / "folder.py").mkdir()
    assert given in refused(mcmc_text("run", given))


def test_an_error_in_an_experiment_of_the_users_names_its_line(mcmc_text, walk, tmp_path):
    path = tmp_path / walk
    path.write_text(path.read_text().replace("    lm = job.masked_lm()\n", "    lm = {}[text]\n"))
    result = mcmc_text("run", walk, "the pupil", *TINY)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "'walk' raised KeyError: 'the pupil' [" in result.stderr
    assert "lm = {}[text]]" in result.stderr


def test_a_result_that_is_no_run_is_told(mcmc_text, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from experiments import experiment\n\n@experiment()\ndef mine(job) -> int:\n    return 3\n"
    )
    result = mcmc_text("run", "mine.py")
    assert result.exit_code == 1
    assert "'mine' returned int; return a run" in result.stderr


def test_a_package_brings_an_experiment_an_energy_and_a_model(mcmc_text, walk, package, tmp_path):
    code = f"{ALONE}\n\ndef short(texts):\n    return [float(len(text)) for text in texts]\n"
    code += f"\n\nsmall = {str(tmp_path / 'tiny')!r}\n"
    package("walking", code, experiments="walk = walking:walk", energies="brief = walking:short",
            models="small = walking:small")  # fmt: skip
    listed = mcmc_text("--help").stdout
    assert "Comes with the package walking." in listed
    assert "walking" not in sys.modules, "help imports no package of others"
    done = mcmc_text("walk", "the pupil", *TINY[:-1], "small", "--energy", "brief=0.5", "--out", "run")
    assert done.exit_code == 0, done.output
    line = json.loads((tmp_path / "run/samples.jsonl").read_text().splitlines()[0])
    assert line["terms"]["brief"] == 0.5 * len(line["text"])
    (tmp_path / "texts.txt").write_text("the pupil\n")
    scored = mcmc_text("score", "texts.txt", "--model", "small", "--energy", "brief")
    assert json.loads(scored.stdout)["terms"]["brief"] == len("the pupil")
    again = mcmc_text("walk", "--resume", "run", "--steps", 8)
    assert "energies of your own" in refused(again), "a folder decides no code"


@pytest.mark.parametrize(
    ("code", "entry", "told"),
    [
        ("import nothing_of_that_name\n", "own = broken:own", "of the package 'broken' cannot be used (ModuleNotFound"),
        ("raise ValueError('no\\nway')\n", "own = broken:own", "'broken' cannot be used (ValueError: no way)"),
        ("", "own = broken:own", "'broken' cannot be used (AttributeError"),
        ("own = 3\n", "own = broken:own", "of the package 'broken' has no @experiment"),
        ("from experiments import experiment\n\n@experiment()\ndef own(job): ...\n", "own = broken:own", "no result"),
        (
            "from experiments import experiment\n\n@experiment()\ndef a(job) -> int: ...\n",
            "own = broken:a",
            "called 'a'",
        ),
    ],
)
def test_a_broken_package_is_one_line_and_breaks_nothing_else(mcmc_text, package, code, entry, told):
    package("broken", code, experiments=entry)
    assert mcmc_text("--help").exit_code == 0
    assert mcmc_text("models").exit_code == 0
    shown = refused(mcmc_text("own"))
    assert told in shown
    assert "broken" in shown


@pytest.mark.filterwarnings("default")
def test_a_name_that_is_registered_twice_is_one_line(mcmc_text, package):
    package("first", "", experiments="own = first:own\nmodels = first:own")
    package("second", "", experiments="own = second:own")
    for line in (("own",), ("own", "--help")):
        shown = refused(mcmc_text(*line))
        assert "'own' is registered twice" in shown
        assert "'first'" in shown
        assert "'second'" in shown
    listed = mcmc_text("models")
    assert listed.exit_code == 0
    assert "masked-en" in listed.stdout
    assert "warning: the package 'first' registers 'models', too; that of mcmc-text is used" in listed.stderr
    assert mcmc_text("--help").exit_code == 0


def test_energies_and_models_of_broken_packages_are_one_line(mcmc_text, package):
    package("broken", "import nothing_of_that_name\n", energies="bad = broken:bad", models="worse = broken:bad")
    assert "'bad' of the package 'broken' cannot be used" in refused(mcmc_text("gibbs", "--energy", "bad"))
    assert "'worse' of the package 'broken' cannot be used" in refused(mcmc_text("gibbs", "--model", "worse"))


def test_what_a_decorator_cannot_read_is_a_type_error():
    with pytest.raises(TypeError, match="argument 'x' has no type"):

        @experiment()
        def one(job: Job, x) -> TextRun: ...

    with pytest.raises(TypeError, match="'rest' has no type; write every argument out"):

        @experiment()
        def two(job: Job, **rest: int) -> TextRun: ...
