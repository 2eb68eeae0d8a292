"""A user's script in versions that differ by one line, and what resuming a run of one with another says.

As a script: ``python -m tests.samplers.changing FOLDER STEPS VERSION`` runs every case in a fresh process.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from samplers import InvalidInput, MetropolisHastings, importance_sample, rejection_sample, sample
from tests.samplers.resuming import signature

__all__ = ["CHANGES", "SCRIPT", "SOURCE", "UNCHANGED"]

HELPERS = "def shifted(x):\n    return x + 0.25\n"
SCRIPT = '''
"""Whatever a user may write."""
from dataclasses import dataclass
from functools import cached_property, partial
import math
import threading
import numpy as np
import torch
from samplers import Configurable, Proposed
import helpers

LEVEL = 0.5


def helper(x):
    return LEVEL * x.square().sum(dim=1)


def outer(weight, words):
    def energy(x, scale=1.0, *, shift=0.0):
        # A comment.
        return weight * scale * helper(x) + shift + 0 * len(words)
    return energy


def through_a_module(x):
    return helpers.shifted(x).square().sum(dim=1)


def scaled(x, by):
    return by * helper(x)


class Walk:
    move_names = ("walk",)
    spread = 1.0

    def __init__(self, scale):
        self._scale = scale

    def noise(self, x, rng):
        return 1.0 * torch.randn(x.shape, dtype=x.dtype, generator=rng)

    def __call__(self, x, rng):
        new = x + self._scale * self.spread * self.noise(x, rng)
        zero = torch.zeros(len(x), dtype=torch.float64)
        return Proposed(new, zero, zero)

    def log_prob(self, x_to, x_from):
        return -(x_to - x_from).square().sum(dim=1).double()


class Remembering(Walk):
    transient = ("_seen",)

    def __init__(self, scale):
        super().__init__(scale)
        self._seen = {}

    def __call__(self, x, rng):
        self._seen[len(self._seen)] = x
        return super().__call__(x, rng)


class States(Walk):
    def __init__(self, scale):
        super().__init__(scale)
        self._lock = threading.Lock()

    def config(self):
        return {"scale": self._scale}


@dataclass(frozen=True)
class Jump:
    scale: float = 0.5
    move_names: tuple = ("jump",)

    def __call__(self, x, rng):
        return Walk(self.scale)(x, rng)

    def log_prob(self, x_to, x_from):
        return Walk(self.scale).log_prob(x_to, x_from)


class Bowl(Configurable):
    def __init__(self, depth):
        self._depth = depth

    @cached_property
    def factor(self):
        return math.exp(self._depth)

    def energy(self, x):
        return self.factor * helper(x)


class Network(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1, dtype=torch.float64)
        self.layer.weight.data.fill_(weight)
        self.layer.bias.data.fill_(0)
        self.power = 2

    def forward(self, x):
        return self.layer(x).abs().pow(self.power).squeeze(1)


def standard(x):
    return -torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1)


RUNS = {
    "closure": (Walk(0.5), outer(2.0, frozenset(["a", "b", "c", "d", "e"]))),
    "lambda": (Walk(0.5), lambda x: 2.0 * helper(x)),
    "partial": (Walk(0.5), partial(scaled, by=2.0)),
    "bound method": (Walk(0.5), Bowl(0.1).energy),
    "dataclass": (Jump(), helper),
    "transient": (Remembering(0.5), helper),
    "config": (States(0.5), helper),
    "module": (Walk(0.5), through_a_module),
    "network": (Walk(0.5), Network(0.7)),
    "torch distribution": (None, standard),
    "rejection": (torch.distributions.Normal(torch.zeros(2), 1.5), standard),
}
'''

# What is replaced in the script, the runs that have to notice, and the dotted name of what they refuse.
SOURCE: dict[str, tuple[str, str]] = {
    "unchanged": ("", ""),
    "comment": ("# A comment.", "# Another comment, and a line.\n"),
    "docstring": ('"""Whatever a user may write."""', '"""Otherwise."""'),
    "private attribute": ("(Walk(0.5), outer", "(Walk(0.6), outer"),
    "closure constant": ("outer(2.0", "outer(3.0"),
    "closure set": ('"e"]', '"f"]'),
    "default": ("scale=1.0", "scale=1.5"),
    "keyword default": ("shift=0.0", "shift=0.5"),
    "constant": ("lambda x: 2.0", "lambda x: 2.5"),
    "type of a constant": ("lambda x: 2.0", "lambda x: 2"),
    "global constant": ("LEVEL = 0.5", "LEVEL = 0.75"),
    "helper": ("LEVEL * x", "LEVEL - x"),
    "argument of a partial": ("by=2.0", "by=2.5"),
    "attribute behind a bound method": ("Bowl(0.1)", "Bowl(0.2)"),
    "field": ("scale: float = 0.5", "scale: float = 0.6"),
    "class method": ("return 1.0 * torch", "return 1.1 * torch"),
    "class attribute": ("spread = 1.0", "spread = 1.5"),
    "config": ("States(0.5)", "States(0.6)"),
    "weights": ("Network(0.7)", "Network(0.8)"),
    "attribute of a network": ("self.power = 2", "self.power = 3"),
    "parameter": ("zeros(2), 1.5", "zeros(2), 2.0"),
}
UNCHANGED = ("unchanged", "comment", "docstring", "imported file")
CODE = r"constants.* was .* and is now "
CHANGES: dict[str, dict[str, str]] = {
    "private attribute": {"closure": "kernel.proposal._scale was 0.5 and is now 0.6"},
    "closure constant": {"closure": "energy.closure.weight was 2.0 and is now 3.0"},
    "closure set": {"closure": r"energy.closure.words was \[.*\] and is now \["},
    "default": {"closure": "energy.defaults.scale was 1.0 and is now 1.5"},
    "keyword default": {"closure": "energy.defaults.shift was 0.0 and is now 0.5"},
    "constant": {"lambda": f"energy.{CODE}"},
    "type of a constant": {"lambda": f"energy.{CODE}"},
    "global constant": {"closure": "energy.globals.helper.globals.LEVEL was 0.5 and is now 0.75"},
    "helper": {"lambda": 'energy.globals.helper.code was "[0-9a-f]+" and is now "'},
    "argument of a partial": {"partial": "energy.keywords.by was 2.0 and is now 2.5"},
    "attribute behind a bound method": {"bound method": "energy.of._depth was 0.1 and is now 0.2"},
    "field": {"dataclass": "kernel.proposal.*scale was 0.5 and is now 0.6"},
    "class method": {
        "closure": f"kernel.proposal.class.members.noise.{CODE}",
        "transient": rf"kernel.proposal.class.bases\[0\].members.noise.{CODE}",
        "dataclass": "kernel.proposal.class.members.__call__.globals.Walk.members.noise.constants",
    },
    "class attribute": {"lambda": "kernel.proposal.class.members.spread was 1.0 and is now 1.5"},
    "config": {"config": "kernel.proposal.scale was 0.5 and is now 0.6"},
    "weights": {"network": 'energy.sha256 was "'},
    "attribute of a network": {"network": "energy.*power was 2 and is now 3|energy.class.members.__init__.co"},
    "parameter": {"rejection": 'proposal.*scale was "'},
    "imported file": {"module": 'energy.globals.helpers.files.helpers was "'},
}


def load(folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("script", folder / "script.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, proposal: Any, energy: Any, folder: Path, steps: int) -> Any:
    where = {"run_dir": folder / name}
    if name == "rejection":
        q = torch.distributions.Independent(proposal, 1)
        return rejection_sample(energy, q, log_bound=1.0, num_samples=20, **where)
    if proposal is None:
        q = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 2.0), 1)
        return importance_sample(energy, q, num_samples=30, batch_size=10, **where)
    x0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    return sample(MetropolisHastings(proposal), energy, x0, steps=steps, progress=False, **where)


def main(folder: Path, steps: int, version: Path) -> None:
    """What each run of the script ended with: its signature, or the message of what was refused."""
    warnings.simplefilter("error")
    ended = {}
    for name, (proposal, energy) in load(version).RUNS.items():
        try:
            ended[name] = signature(run(name, proposal, energy, folder, steps))
        except InvalidInput as error:
            ended[name] = str(error)
    print(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
