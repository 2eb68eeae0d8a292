"""``mcmc-text energies``, ``check-energy`` and ``new-energy``: what there is, what is wrong, and a start."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from experiments import examine_energy
from experiments.catalogue.energy_classes import energy_classes

HEAD = """
import math, random, time
import numpy as np
import torch

CALLS, SEEN = [0], []


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def energy({argument}):
"""

# The level, the check and a part of the finding or its remedy.
ILL = {
    "texts.sort()\n    return [len(text) for text in texts]": [
        ("error", "beside", "no sorting"), ("warning", "argument", "sorted(texts)")],
    "return [sorted(texts).index(text) for text in texts]": [("error", "beside", "no rank")],
    "return [len(text) / max(map(len, texts)) for text in texts]": [("error", "beside", "1 for a text alone and")],
    "return torch.tensor([float(len(text)) for text in texts]).softmax(0)": [("error", "beside", "")],
    "return [len(text) + (len(texts) > 40) for text in texts]": [("error", "beside", "a second copy")],
    "return [len(text) for text in dict.fromkeys(texts)]": [("error", "beside", "values for")],
    "return [1.0 if len(texts) == 1 else 1 / 0 for text in texts]": [("error", "beside", "ZeroDivisionError")],
    "return [random.random() for text in texts]": [("error", "again", "take out"), ("warning", "process", "Python's")],
    "CALLS[0] += 1\n    return [len(text) + CALLS[0] % 2 for text in texts]": [("error", "again", "")],
    "SEEN.extend(texts)\n    return [SEEN.count(text) for text in texts]": [("error", "again", "lists that grow")],
    "np.random.rand()\n    return [len(text) for text in texts]": [("warning", "process", "NumPy's random")],
    "return [time.time() for text in texts]": [("warning", "again", "the clock")],
    "return [math.nan if 'e' in text else 1.0 for text in texts]": [("error", "values", "NaN for")],
    "return [-math.inf if 'e' in text else len(text) for text in texts]": [("error", "values", "-inf for")],
    "return [math.inf for text in texts]": [("error", "values", "16 of 16 texts in English")],
    "return [math.inf if 's' in text else 0.0 for text in texts]": [("warning", "values", "give a price")],
    "return [3.0 for text in texts]": [("warning", "values", "the same to 0 nats")],
    "return [1e9 * len(text) for text in texts]": [("warning", "values", "it decides all")],
    "return torch.tensor([len(text) for text in texts], dtype=torch.bfloat16)": [("warning", "values", "too coarse")],
    "return [float(ord(text.split()[0][0])) for text in texts]": [("error", "answers", "raises IndexError")],
    "return [1 / (len(text) - 1) for text in texts]": [("error", "answers", "raises ZeroDivisionError")],
    "return [10 ** 400 for text in texts]": [("error", "answers", "too large for a float")],
    "return [1j for text in texts]": [("error", "answers", "not a number of nats")],
    "return [[1.0] for text in texts]": [("error", "answers", "not a number of nats")],
    "return {text: 1.0 for text in texts}": [("error", "answers", "returned dict")],
    "return None": [("error", "answers", "returned None")],
    "return 1.0": [("error", "answers", "returned float")],
    "return [1.0]": [("error", "beside", "returned 1 values for")],
    "return np.zeros((len(texts), 2))": [("error", "answers", "returned shape [1, 2]")],
    "raise Mute": [("error", "answers", "raises Mute, which cannot say")],
    "raise SystemExit(1)": [("error", "answers", "raises SystemExit")],
    "raise ValueError('\\x1b[2J\\u202e')": [("error", "answers", "raises ValueError")],
    "return ['\\x1b[2J' for text in texts]": [("error", "answers", "returned '")],
    "time.sleep(0.011 * len(texts))\n    return [len(text) for text in texts]": [("warning", "cost", "in batches")],
    "return [sum(a == b for a in text for b in text) / 50 for text in texts]": [("warning", "cost", "a loop in a")],
    "x.zero_()\n    return x.double().sum(dim=1)": [("warning", "argument", ""), ("warning", "values", "")],
    "return x.double().sum(dim=1) - x.double().mean()": [("error", "beside", "")],
    "return x.double()": [("error", "answers", "of shape [1, 512] for 1 states")],
    "return [1.0] * len(x)": [("error", "answers", "returns list, not a tensor")],
}  # fmt: skip
WELL = (
    "return [0.5 * len(text.split()) for text in texts]",
    "return np.array([len(text) for text in texts], dtype=np.float32)",
    "return [math.inf if '?' in text else 0.25 * text.count('e') for text in texts]",
    "CALLS[0] += 1\n    return [random.Random(text).random() for text in texts]",
    "return (x > 50).sum(dim=1) * 0.1",
)


@pytest.fixture
def write(tmp_path):
    def _write(body: str) -> str:
        argument = "texts" if "text" in body else "x: torch.Tensor" if re.search(r"\bx\b", body) else "texts"
        path = tmp_path / "mine.py"
        path.write_text(HEAD.format(argument=argument) + f"    {body}\n")
        return f"{path}:energy"

    return _write


@pytest.mark.parametrize("body", ILL)
def test_what_is_wrong_is_found_with_its_remedy(write, body):
    found = examine_energy(write(body))
    shown = str(found)
    assert not {"\x1b", "\u202e"} & set(shown)
    for level, check, part in ILL[body]:
        matching = [each for each in found.findings if (each.level, each.check) == (level, check)]
        assert matching, shown
        assert any(part in "".join(each.lines()) for each in matching), shown
        assert all(each.remedy for each in matching)
    assert found.is_well == all(level != "error" for level, *_ in ILL[body]), shown


@pytest.mark.parametrize("body", WELL)
def test_what_is_well_is_left_alone(write, body):
    found = examine_energy(write(body))
    assert {each.level for each in found.findings} == {"ok"}, found


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (
            "from experiments.doctor.sample_texts import ENGLISH\n    return [60 * (t not in ENGLISH) for t in texts]",
            "chains hardly move",
        ),
        ("return [0.0 if '?' in text else 9.0 for text in texts]", "chains see no way to lower it"),
        ("return [0.3 * text.count('e') for text in texts]", "of steps change the text"),
    ],
)
def test_what_it_does_to_a_run(write, embedded, body, part):
    found = examine_energy(write(body), run=True, model="masked-en", scorer="none")
    (run,) = [each for each in found.findings if each.check == "run"]
    assert part in run.what + run.remedy, found
    assert found.is_well


def test_the_command_says_it_and_its_exit_code_is_the_verdict(mcmc_text, monkeypatch, tmp_path):
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    Path("mine.py").write_text(
        "print('imported')\n\ndef good(texts):\n    print('called')\n    return [0.1 * len(text) for text in texts]\n\n"
        "def picky(texts):\n    return [1 / (text != 'Odd one out.') for text in texts]\n"
    )
    Path("texts.txt").write_text("Odd one out.\n")
    Path("empty.txt").write_text("\n")
    good = mcmc_text("check-energy", "mine.py:good=2", "--no-run")
    assert good.exit_code == 0
    assert "no errors and no warnings in mine.py:good=2" in good.stdout
    assert "called" not in good.stdout
    assert mcmc_text("check-energy", "mine.py:picky", "--no-run").exit_code == 0
    picky = mcmc_text("check-energy", "mine.py:picky", "--texts", "texts.txt")
    assert picky.exit_code == 1
    assert "text: 'Odd one out.'" in picky.stdout
    assert "not tried, as there are errors" in picky.stdout
    for line, part in [
        (["gone.py:good"], "there is no file 'gone.py'"),
        (["mine.py:bad"], "defines no function 'bad'"),
        (["mine.py"], "write FILE.py:NAME"),
        (["mine.py:good", "--texts", "gone.txt"], "does not exist"),
        (["mine.py:good", "--texts", "empty.txt"], "has no text"),
    ]:
        bad = mcmc_text("check-energy", *line)
        assert (bad.exit_code, bad.stdout, part in bad.stderr) == (2, "", True), bad.stderr


def test_a_new_energy_runs_and_passes_as_it_is(mcmc_text):
    made = mcmc_text("new-energy", "rhyme")
    assert made.stdout.splitlines()[1:] == [
        "  mcmc-text check-energy rhyme.py:rhyme",
        "  mcmc-text keywords music night --energy rhyme.py:rhyme=2",
    ]
    energy = subprocess.run([sys.executable, "rhyme.py"], capture_output=True, text=True, check=True)
    assert float(energy.stdout.split()[0]) == 0
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_rhyme.py"]) == 0
    assert mcmc_text("check-energy", "rhyme.py:rhyme", "--no-run").stdout.endswith("no warnings in rhyme.py:rhyme\n")
    before = {path: path.read_text() for path in Path().iterdir()}
    for name in (
        "rhyme",
        "class",
        "my-energy",
        "random",
        "torch",
        "pytest",
        "rhyme.py",
        "test_rhyme",
        "é",
        "",
        "../up",
    ):
        bad = mcmc_text("new-energy", name)
        assert (bad.exit_code, len(bad.stderr.strip().splitlines())) == (2, 1), name
    Path("test_only.py").touch()
    assert mcmc_text("new-energy", "only").exit_code == 2
    assert {path: path.read_text() for path in Path().iterdir()} == {**before, Path("test_only.py"): ""}


def test_every_energy_is_listed_found_and_not_imported(mcmc_text, monkeypatch, fresh_process, tmp_path):
    import lm_adapters
    import samplers

    listed = mcmc_text("energies").stdout
    for package in (lm_adapters, samplers):
        for name in package.__all__:
            found = getattr(package, name)
            if isinstance(found, type) and issubclass(found, samplers.EnergyTerm):
                abstract = bool(getattr(found, "__abstractmethods__", ()))
                assert (f"  {name} " in listed) != abstract, name
    assert "--repeats NUMBER" in listed
    library = tmp_path / "library"
    library.mkdir()
    (library / "__init__.py").write_text("1 / 0\n")
    (library / "one.py").write_text(
        "from samplers import EnergyTerm\n\n__all__ = ['Rhyme']\n\n\nclass Base(EnergyTerm):\n"
        "    def __init__(self, space, weight: float = 1.0): ...\n\n\nclass Rhyme(Base):\n"
        "    '''Nats for ends that do not rhyme. More.'''\n\n    def values(self, x, hint=None): ...\n\n\n"
        "def near(texts):\n    '''Nearly rhymes.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (rhyme,) = [each for each in energy_classes(["library", "samplers"]) if each.name == "Rhyme"]
    assert (rhyme.place, rhyme.call) == ("library.one", "Rhyme(space, weight=1.0)")
    assert rhyme.summary == "Nats for ends that do not rhyme"
    entry = EntryPoint("nearly\x1b", "library.one:near", "mcmc_text.energies")
    monkeypatch.setattr(
        "experiments.declaration.plugins.entry_points",
        lambda group: [*entry_points(group=group), *[entry] * (entry.group == group)],
    )
    assert "nearly\\x1b  --energy nearly\\x1b  Nearly rhymes (the package ?)" in mcmc_text("energies").stdout
