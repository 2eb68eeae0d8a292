"""A training run on disk: the state it can go on from, and its learning curve."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from experiments.training.optimizer import Optimizers
from samplers import InvalidInput

__all__ = ["Run", "append_to_curve"]


@dataclass
class Run:
    """A model in training: its weights, their average, the optimizers, the steps done, the seconds they took."""

    name: str
    model: PreTrainedModel
    average: PreTrainedModel
    optimizers: Optimizers
    step: int = 0
    seconds: float = 0.0  # of a CPU core, or of a GPU

    def save(self, path: Path) -> None:
        """Replace the file as a whole: a kill leaves the old one or the new one."""
        partial = path.with_suffix(".part")
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizers")}
        torch.save({**parts, "name": self.name, "step": self.step, "seconds": self.seconds}, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Raises ``InvalidInput`` for a checkpoint of another model, or of a training that went otherwise."""
        saved = torch.load(path, "cpu", weights_only=True)  # tensors, numbers and names only: no code is run
        if (other := saved.get("name")) != self.name:
            raise InvalidInput(f"{path} is a checkpoint of {other}, not of {self.name}; give another --out")
        for name in ("model", "average", "optimizers"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]


def append_to_curve(path: Path, facts: dict[str, Any]) -> None:
    with path.open("a") as curve:
        curve.write(json.dumps(facts) + "\n")
