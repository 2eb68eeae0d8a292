"""Energies import what lies beside them, as ``python FILE`` would; a run notices what changes there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments.setup.custom_energy import load_custom_energies
from samplers import InvalidInput

ROOT = Path(experiments.__file__).parents[1]
TEXTS = ["music", "at night"]

BODY = "def f(texts):\n    return [float(any(word in text for word in {words})) for text in texts]\n"
FILES = {
    "helper.py": "WORDS = ['music']\n",
    "beside.py": "from helper import WORDS\n\n" + BODY.format(words="WORDS"),
    "module.py": "import helper\n\n" + BODY.format(words="helper.WORDS"),
    "lazy.py": "def f(texts):\n    from helper import WORDS\n    return [float(WORDS[0] in text) for text in texts]\n",
    "deep/pkg/__init__.py": "",
    "deep/pkg/words.py": "WORDS = ['night']\n",
    "deep/pkg/relative.py": "from .words import WORDS\n\n" + BODY.format(words="WORDS"),
    "deep/pkg/absolute.py": "from pkg.words import WORDS\n\n" + BODY.format(words="WORDS"),
    "deep/pkg/script.py": "from words import WORDS\n\n" + BODY.format(words="WORDS"),
    "other/helper.py": "WORDS = ['at']\n",
    "other/beside.py": "from helper import WORDS\n\n" + BODY.format(words="WORDS").replace("f(", "g("),
    "haiku.py": (
        "from __future__ import annotations\n"
        "from experiments import Job, Problem, TextRun, edit_kernel, experiment, sample_chains\n"
        "from helper import WORDS\n\n"
        "@experiment(steps=6, warmup=0, thin=1, chains=2)\n"
        "def haiku(job: Job) -> TextRun:\n"
        "    '''Words of the helper.'''\n"
        "    from lm_adapters import MaskedEnergy\n"
        "    print('in the experiment')\n"
        "    lm = job.masked_lm()\n"
        "    x0 = lm.space.encode([WORDS[0]] * job.settings.chains, width=4)\n"
        "    energy = job.with_custom(MaskedEnergy(lm, 'pll'), lm.space)\n"
        "    return sample_chains(Problem(lm.space, energy, x0, {'model': lm}), edit_kernel(lm, max_length=4), job)\n\n"
        "print('imported')\n"
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def values(*specs: str) -> list[list[float]]:
    return [energy.function(TEXTS) for energy in load_custom_energies(specs)]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("beside.py:f", [1.0, 0.0]),
        ("module.py:f", [1.0, 0.0]),
        ("lazy.py:f", [1.0, 0.0]),
        ("deep/pkg/relative.py:f", [0.0, 1.0]),
        ("deep/pkg/absolute.py:f", [0.0, 1.0]),
        ("deep/pkg/script.py:f", [0.0, 1.0]),
        ("other/beside.py:g", [0.0, 1.0]),
        ("beside:f", [1.0, 0.0]),
        ("deep.pkg.relative:f=2", [0.0, 1.0]),
    ],
)
def test_imports_work_as_for_a_program(folder, spec, wanted):
    first = list(sys.path)
    assert values(spec) == [wanted]
    assert sys.path[: len(first)] == first  # nothing of ours is hidden by a file of the user's
    assert not list(folder.rglob("__pycache__"))


def test_files_of_one_name_in_two_folders_are_kept_apart(folder):
    assert values("beside.py:f", "other/beside.py:g") == [[1.0, 0.0], [0.0, 1.0]]


def test_what_was_edited_meanwhile_is_read_anew(folder):
    assert values("beside.py:f") == [[1.0, 0.0]]
    Path("helper.py").write_text("WORDS = ['night']\n")
    assert values("beside.py:f") == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "nosuch.module:f",
            "'nosuch.module' cannot be imported .*No module named 'nosuch'.*write FILE.py:NAME or MODULE",
        ),
        ("beside:g", "'beside' defines no function 'g'"),
        ("helper:WORDS", "'helper' defines no function 'WORDS'"),
        ("broken:f", r"cannot be imported \(ZeroDivisionError: division by zero \[.*broken.py:1: 1 / 0\]\)"),
        ("broken.py:f", r"raised ZeroDivisionError: division by zero \[broken.py:1: 1 / 0\]"),
        ("classes.py:Wish", "'Wish' is a class; give an instance of it, as in wish = Wish"),
        (
            "classes.py:two",
            r"'two' cannot be called with one argument \(missing a required argument: 'target'\); an ene",
        ),
        ("classes.py:none", "'none' cannot be called with one argument .*; it takes none"),
    ],
)
def test_what_cannot_be_used_is_said(folder, spec, message):
    Path("broken.py").write_text("1 / 0\n")
    Path("classes.py").write_text("class Wish: ...\n\ndef two(texts, target): ...\n\ndef none(): ...\n")
    with pytest.raises(InvalidInput, match=message):
        values(spec)


ANNOTATIONS = {
    "texts: np.ndaray": False,
    "texts: '1+'": False,
    "texts: 'os.nosuch'": False,
    "texts: list[str]": False,
    "texts": False,
    "x: torch.Tensor": True,
    "x: 'torch.Tensor', y: 'nosuch' = None": True,
    "x: Tensor": True,
}


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize("arguments", ANNOTATIONS)
def test_an_annotation_that_means_nothing_is_none(folder, embedded, arguments, future):
    if not future and arguments in ("texts: np.ndaray", "x: Tensor"):
        pytest.skip("a NameError of its own")
    checked = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor\n"
    body = f"import os, torch\n{checked}\ndef f({arguments}):\n    return [0.0] * 2\n"
    Path("annotated.py").write_text(future + body)
    (energy,) = load_custom_energies(["annotated.py:f"])
    (part,) = energy.term(embedded.space).parts
    assert (type(part[1].inner).__name__ != "TextEnergy") == ANNOTATIONS[arguments]


def run(*line: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "experiments.cli", *line]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


SHORT = ["gibbs", "--chains", "4", "--steps", "6", "--warmup", "0", "--thin", "1", "--length", "3", "--out", "run"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["beside.py:f", "module.py:f", "beside:f"])
def test_a_change_in_a_helper_is_noticed_by_a_new_process(folder, spec):
    assert run(*SHORT, "--energy", spec).returncode == 0
    longer = [word if word != "6" else "9" for word in SHORT]
    Path("helper.py").write_text("WORDS = ['night']\n")
    changed = run(*longer, "--energy", spec)
    assert changed.returncode == 2, changed.stderr
    assert "helper" in changed.stderr or "WORDS" in changed.stderr
    Path("helper.py").write_text(FILES["helper.py"])
    assert run(*longer, "--energy", spec).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["beside.py:f", "deep/pkg/relative.py:f", "deep.pkg.relative:f"])
def test_workers_find_the_same(folder, spec):
    assert run(*SHORT, "--energy", spec).returncode == 0
    shared = run(*SHORT[:-1], "shared", "--energy", spec, "--workers", "2", "--shard-size", "2")
    assert shared.returncode == 0, shared.stderr
    assert run(*SHORT[:-1], "one", "--energy", spec, "--shard-size", "2").returncode == 0
    assert Path("shared/samples.jsonl").read_bytes() == Path("one/samples.jsonl").read_bytes()


@pytest.mark.slow
def test_an_experiment_in_a_file_imports_and_prints_too(folder):
    result = run("run", "haiku.py", "--json")
    assert result.returncode == 0, result.stderr
    assert all("text" in json.loads(line) for line in result.stdout.splitlines())
    assert "imported" in result.stderr
    assert "in the experiment" in result.stderr
