"""The skeletons of ``examples/``: short, and each proves itself from a folder outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from examples.my_energy import Roughness
from examples.my_kernel import Barker
from examples.my_proposal import Nudge
from samplers import InvalidInput, Trace, sample

ROOT = Path(__file__).parents[1]
LONGEST = 60
SHOWN = {
    "my_kernel": "Barker: 8 tests passed, 0 failed, 3 skipped",
    "my_proposal": "Nudge: 3 tests passed, 0 failed, 0 skipped\nMetropolisHastings: 11 tests passed, 0 failed",
    "my_adapter": "nll: 9 tests passed, 0 failed, 0 skipped\n20% accepted",
    "my_energy": "roughness + mean: 8 tests passed, 0 failed",
}


def outside(folder: Path, name: str, *arguments: str) -> str:
    """What a copy of the example prints, run where nothing but the installed packages can be imported."""
    copy = shutil.copy(ROOT / "examples" / f"{name}.py", folder)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, copy, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SHOWN)
def test_a_copy_elsewhere_proves_itself(name: str, tmp_path: Path):
    shown = [line for line in outside(tmp_path, name).splitlines() if not line.startswith(" ")]
    assert "\n".join(shown).startswith(SHOWN[name])


@pytest.mark.slow
def test_a_model_behind_a_server_scores_as_it_does_here(tmp_path: Path):
    last = outside(tmp_path, "remote_scorer", "3").splitlines()[-1]
    (apart,) = re.findall(r"^energies at most (\S+) nats apart, the same draws$", last)
    assert float(apart) < 1e-4


def test_examples_are_short():
    lengths = {path.stem: len(path.read_text().splitlines()) for path in (ROOT / "examples").glob("my_*.py")}
    assert set(SHOWN) <= set(lengths)
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_they_work_together_and_a_run_of_them_resumes(tmp_path: Path):
    def run(steps: int, folder: Path | None = None) -> Trace:
        x0 = torch.zeros(4, 5, dtype=torch.int64)
        return sample(Barker(Nudge(4)), Roughness(0.5), x0, steps=steps, seed=3, run_dir=folder)

    run(20, tmp_path / "run")
    assert torch.equal(run(50, tmp_path / "run").draws, run(50).draws)
    with pytest.raises(InvalidInput, match="strength"):
        sample(Barker(Nudge(4)), Roughness(0.6), torch.zeros(4, 5).long(), steps=50, seed=3, run_dir=tmp_path / "run")


def test_the_experiment_runs_resumes_and_has_workers_elsewhere(tmp_path: Path):
    copy = shutil.copy(ROOT / "examples" / "my_experiment.py", tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    short = "--chains 4 --steps 6 --warmup 2 --thin 2 --shard-size 2"
    for line in (
        f"run my_experiment.py night {short} --out alone --quiet",
        f"run my_experiment.py night {short} --out shared --workers 2 --quiet",
        "run my_experiment.py --resume shared --steps 8 --json",
    ):
        command = [sys.executable, "-m", "experiments.cli", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
    first, more = (set((tmp_path / name / "samples.jsonl").read_text().splitlines()) for name in ("alone", "shared"))
    assert first < more == set(done.stdout.splitlines())
    assert {path.name for path in tmp_path.iterdir()} >= {"alone", "shared", Path(copy).name}
