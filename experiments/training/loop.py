"""The training loop: a function of seed, corpus, device and number of threads, that resumes where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experiments.training.average import move_average
from experiments.training.checkpoint import Run, append_to_curve
from experiments.training.dropout import drop_channels
from experiments.training.optimizer import Optimizers
from experiments.training.recipe import Recipe
from experiments.training.tasks.task import Task

__all__ = ["train"]

SAVE_EVERY = 300  # seconds, and whenever held-out rows are looked at


def train(
    task_class: type[Task], recipe: Recipe, corpus: Path, out: Path, *, progress: bool = True
) -> tuple[Task, PreTrainedModel]:
    """Train a model into ``out`` and return its averaged weights, with its task.

    ``out/checkpoint.pt`` is where the run goes on, ``out/steady.pt`` the state before the rate began to fall: copied
    over ``checkpoint.pt``, it lets a run that has ended be made longer.

    Raises ``InvalidInput`` if ``out`` holds the checkpoint of another model.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    task = task_class(corpus, _tokenizer(task_class, corpus, out))
    run = _begin(task, recipe)
    out.mkdir(parents=True, exist_ok=True)  # a corpus that cannot be used leaves nothing there
    if not (out / "tokenizer.json").exists():
        task.tokenizer.save_pretrained(out)
    if (out / "checkpoint.pt").exists():
        run.load(out / "checkpoint.pt")
    drop_channels(run.model, task.dropped, recipe.dropout)
    _run_steps(run, task, recipe, out, progress)
    return task, run.average


def _tokenizer(task_class: type[Task], corpus: Path, out: Path) -> PreTrainedTokenizerFast:
    """That of the run in ``out``, or a new one."""
    if not (out / "tokenizer.json").exists():
        return task_class.make_tokenizer(corpus)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(out)
    return tokenizer


def _begin(task: Task, recipe: Recipe) -> Run:
    model = task.build().train().to(recipe.device)
    optimizers = Optimizers(
        model, recipe.weight_decay, embedding_rate=task.embedding_rate, relative=task.relative_rates
    )
    return Run(task.name, model, deepcopy(model).eval().requires_grad_(False), optimizers)


def _run_steps(run: Run, task: Task, recipe: Recipe, out: Path, progress: bool) -> None:
    loss_of = torch.compile(task.loss, dynamic=True) if recipe.compiled and recipe.device == "cpu" else task.loss
    batches = task.batches(recipe.batch_tokens, recipe.seed, run.step)
    losses: list[Tensor] = []
    clock = time.process_time if recipe.device == "cpu" else time.perf_counter
    before, saved_at = run.seconds - clock(), time.monotonic()
    bar = tqdm(total=recipe.steps, initial=run.step, disable=not progress, unit="step", mininterval=10)
    for step, batch in islice(batches, max(0, recipe.steps - run.step)):
        if step == recipe.steady:
            run.save(out / "steady.pt")
        losses.append(_update(run, task, recipe, loss_of, batch))
        run.step, run.seconds = step + 1, before + clock()
        bar.update()
        evaluated = run.step % recipe.evaluate_every == 0 or run.step == recipe.steps
        if evaluated:
            facts = {"step": run.step, "training": torch.stack(losses).mean().item(), **task.quick_figures(run.average)}
            append_to_curve(out / "learning_curve.jsonl", {**facts, "seconds": round(run.seconds)})
            losses.clear()
        if evaluated or time.monotonic() - saved_at > SAVE_EVERY:
            run.save(out / "checkpoint.pt")
            saved_at = time.monotonic()
    bar.close()


def _update(run: Run, task: Task, recipe: Recipe, loss_of: Callable[..., Tensor], batch: Tensor) -> Tensor:
    """One step; returns its loss. Its noise depends on seed and step alone. Nothing here waits for a GPU."""
    rng = torch.manual_seed(recipe.seed * 1_000_003 + run.step)  # torch's own generator: dropout draws from it too
    inputs = _on(recipe.device, task.inputs(batch, rng))
    with torch.autocast(run.model.device.type, torch.bfloat16):
        loss = loss_of(run.model, inputs)
    loss.backward()
    run.optimizers.step(recipe.rate_at(run.step))
    move_average(run.average, run.model, recipe.window_at(run.step))
    return loss.detach()


def _on(device: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """From pinned memory, so that the next batch is made while a GPU is at work."""
    if device == "cpu":
        return inputs
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in inputs.items()}
