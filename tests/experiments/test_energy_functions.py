"""Energies as people write them: every one that depends on more than the text is reported, no other one is accused."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pytest

from experiments.gibbs import gibbs
from samplers import McmcTextError
from tests.experiments.energy_functions import RIGHT, WORDS, WRONG, Made, made
from tests.lm_adapters import tiny

SEED = 14


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(WORDS)


def reported(lm, one: Made, folder: Path) -> str:
    """What a run says of the energy: an error, warnings, doubts about its draws; empty if nothing."""
    path = folder / f"e{one.number}.py"
    path.write_text(one.source)
    random.seed(one.number)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            run = gibbs(
                model=lm,
                energies=[f"{path}:energy"],
                chains=6,
                steps=12,
                warmup=2,
                thin=1,
                length=(3, 6),
                seed=one.number,
            )
        except McmcTextError as error:
            return str(error)
    assert run.trace.term_names == ("pll", "energy")
    return "; ".join([*(str(warning.message) for warning in seen), run.doubt]).strip("; ")


def verdicts(lm, count: int, folder: Path) -> dict[str, list[str]]:
    """Sources that were wrongly accused, and those that were not noticed."""
    found: dict[str, list[str]] = {"accused": [], "missed": []}
    for one in made(count, SEED):
        said = reported(lm, one, folder)
        if one.way is None and said:
            found["accused"].append(f"{said}\n{one.source}")
        if one.way is not None and "energy" not in said:
            found["missed"].append(f"{one.way}\n{one.source}")
    return found


def test_a_function_of_each_kind(lm, tmp_path):
    assert verdicts(lm, 2 * max(len(RIGHT), len(WRONG)), tmp_path) == {"accused": [], "missed": []}


@pytest.mark.slow
def test_three_hundred_functions(lm, tmp_path):
    assert verdicts(lm, 300, tmp_path) == {"accused": [], "missed": []}
