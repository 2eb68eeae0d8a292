"""A run killed at any of its file operations goes on to the same bytes, and keeps every step that it had committed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.samplers.crashing import MUTANTS, WAYS
from tests.samplers.doubles import KERNELS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and asks /proc for names")

LEAST = 70  # operations of the smallest of these runs


def crashed(folder, name, way, mutant=""):
    """Kills that went wrong, and their number."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.samplers.crashing", str(folder), name, way, mutant],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", [way if way != "bytes" else pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def test_a_run_killed_at_any_operation_ends_as_if_it_had_not_been(way, tmp_path):
    wrong, kills = crashed(tmp_path, "cycle", way)
    assert wrong == []
    assert kills > LEAST


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["mixture with tempered", "anneal mixture", "pseudo-gibbs", "anneal tempered"])
def test_so_does_one_of_any_kind(name, way, tmp_path):
    assert name.removeprefix("anneal ") in KERNELS
    wrong, kills = crashed(tmp_path, name, way)
    assert wrong == []
    assert kills > LEAST


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_matrix_finds_what_is_not_safe(mutant, tmp_path):
    wrong, _ = crashed(tmp_path, "cycle", MUTANTS[mutant][1], mutant)
    assert len(wrong) == 1
