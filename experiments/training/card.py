"""Export a trained model with its card: everything a user of it is owed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jinja2 import DictLoader, Environment, StrictUndefined

from experiments.training.cards import PAIRS, TRAINING
from experiments.training.recipe import Recipe
from experiments.training.tasks.task import Task

__all__ = ["export"]


def export(task: Task, model: Any, recipe: Recipe, run: Path, out: Path) -> None:
    """Write float16 weights, tokenizer, card, ``figures.json`` and the learning curve into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    # The figures are those of the weights that ship: rounded to float16, computed in float32.
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())
    figures = {
        "task": task.kind,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **task.figures(model),
        "seconds": json.loads((run / "learning_curve.jsonl").read_text().splitlines()[-1])["seconds"],
    }
    model.half().save_pretrained(out)
    task.tokenizer.save_pretrained(out)
    shutil.copy(run / "learning_curve.jsonl", out)
    (out / "figures.json").write_text(json.dumps({**figures, "recipe": asdict(recipe)}, indent=2) + "\n")
    facts = {
        "recipe": recipe,
        "figures": figures,
        "config": model.config,
        "rates": _rates(task),
        **task.facts,
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "parameters": f"{figures['parameters'] / 1e6:.2f} M",
        "tokens": f"{recipe.tokens / 1e6:.1f} M",
        "epochs": f"{recipe.tokens / task.epoch_tokens:.1f}",
        "epoch_tokens": f"{task.epoch_tokens / 1e6:.2f} M",
        "time": _time(figures["seconds"], recipe.device),
    }
    parts = DictLoader({"training": TRAINING, "pairs": PAIRS, "card": task.card})
    templates = Environment(undefined=StrictUndefined, keep_trailing_newline=True, loader=parts)
    (out / "README.md").write_text(templates.get_template("card").render(facts))


def _time(seconds: float, device: str) -> str:
    return f"{seconds / 60:.0f} minutes of a CPU core" if device == "cpu" else f"{seconds:.0f} seconds of a GPU"


def _rates(task: Task) -> str:
    if task.relative_rates:
        return "each weight's rate times its root mean square"
    return f"the embeddings at {task.embedding_rate:g} times the rate"
