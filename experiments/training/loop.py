"""The training loop: a function of the seed, the corpus and the number of threads, that resumes where it was killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experiments.training.recipe import Phase, Recipe
from experiments.training.task import Task
from samplers import InvalidInput

__all__ = ["train"]


def train(
    task_class: type[Task], recipe: Recipe, corpus: Path, out: Path, *, progress: bool = True
) -> tuple[Task, PreTrainedModel]:
    """Train a model into ``out`` and return it with its task.

    Raises ``InvalidInput`` if ``out`` holds the checkpoint of another model.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "tokenizer.json").exists():
        task_class.make_tokenizer(corpus).save_pretrained(out)
    task = task_class(corpus, PreTrainedTokenizerFast.from_pretrained(out))
    model = task.build().train()
    optimizer = _optimizer(model, task)
    done, seconds = _resume(out / "checkpoint.pt", task.name, model, optimizer)
    began = time.monotonic()
    bar = tqdm(total=recipe.steps, initial=done, disable=not progress, unit="step")
    for step, phase, rate, batch in _schedule(task, recipe, done):
        loss = task.loss(model, batch, phase, torch.Generator().manual_seed(recipe.seed * 1_000_003 + step))
        _update(model, optimizer, loss, rate)
        bar.set_postfix_str(f"loss {loss.item():.2f}", refresh=False)
        bar.update()
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            elapsed = seconds + time.monotonic() - began
            _append(out / "learning_curve.jsonl", step + 1, task.quick_figures(model), elapsed)
            model.train().requires_grad_(True)
            _save(out / "checkpoint.pt", task.name, model, optimizer, step + 1, elapsed)
    bar.close()
    return task, model


def _schedule(task: Task, recipe: Recipe, done: int) -> Iterator[tuple[int, Phase, float, Any]]:
    """``(step, phase, rate, batch)`` of the steps not yet done; each phase shuffles for itself."""
    begin = 0
    for index, phase in enumerate(recipe.phases):
        first = min(max(0, done - begin), phase.steps)
        batches = task.batches(phase.batch_tokens, recipe.seed + index, first)
        for step, batch in islice(batches, phase.steps - first):
            rate = phase.rate_at(step) * min(1.0, (begin + step + 1) / recipe.warmup)
            yield begin + step, phase, rate, batch
        begin += phase.steps


def _optimizer(model: PreTrainedModel, task: Task) -> torch.optim.AdamW:
    """Groups by weight decay and by ``multiple``, their rate beside the recipe's (``None``: the weight's size)."""
    if task.relative_rates:
        groups = [{"params": [w], "weight_decay": 0.0, "multiple": None} for w in model.parameters()]
        return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    apart = [] if task.embedding_rate == 1.0 else [model.get_input_embeddings().weight]
    weights = [w for w in model.parameters() if not any(w is other for other in apart)]
    groups = [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": 0.05, "multiple": 1.0},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0, "multiple": 1.0},
        {"params": apart, "weight_decay": 0.05 / task.embedding_rate, "multiple": task.embedding_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)


def _update(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        multiple = group["multiple"]
        group["lr"] = rate * (_size(group["params"][0]) if multiple is None else multiple)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _size(weight: torch.Tensor) -> float:
    """Root mean square; what starts at zero has to be able to leave it."""
    return max(1e-3, weight.detach().square().mean().sqrt().item())


def _resume(path: Path, name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)  # tensors, numbers and names only: no code is run
    # The first checkpoints had no name: there was one model.
    if (other := saved.get("name", "masked-en")) != name:
        raise InvalidInput(f"{path} is a checkpoint of {other}, not of {name}; give another --out")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], saved["seconds"]


def _save(
    path: Path, name: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    partial = path.with_suffix(".part")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save({**state, "name": name}, partial)
    os.replace(partial, path)


def _append(path: Path, step: int, figures: dict[str, Any], seconds: float) -> None:
    with path.open("a") as curve:
        curve.write(json.dumps({"step": step, **figures, "seconds": round(seconds)}) + "\n")
