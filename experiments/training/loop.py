"""The training loop: a function of the seed, the corpus and the number of threads, that resumes where it was killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from experiments.training.data import batches, by_length, english_split, train_tokenizer
from experiments.training.masked import build_masked, draw_mask, masked_loss
from lm_adapters import MaskedLM

__all__ = ["Phase", "Recipe", "held_out_figures", "train"]

MAX_LENGTH = 64  # tokens, special tokens included; under 0.1 % of the corpus is longer
QUICK_CHECK = 500  # held-out sentences scored along the way; the card's figures use all of them


@dataclass(frozen=True)
class Phase:
    """Steps with AdamW's rate going straight from ``rate`` to ``final_rate``, on batches of about ``batch_tokens``.

    A share ``0.1 + 0.9 u^mask_power`` of each sentence is masked: a higher power masks less.
    """

    steps: int
    rate: float
    final_rate: float
    batch_tokens: int
    mask_power: int

    def rate_at(self, step: int) -> float:
        return self.rate + (self.final_rate - self.rate) * step / self.steps


@dataclass(frozen=True)
class Recipe:
    """Phases one after the other; the first ``warmup`` steps of the run rise from nothing."""

    phases: tuple[Phase, ...] = (
        Phase(steps=2000, rate=2.08e-3, final_rate=1.56e-3, batch_tokens=2048, mask_power=2),
        Phase(steps=4400, rate=1.5e-3, final_rate=0.0, batch_tokens=3072, mask_power=5),
    )
    warmup: int = 300
    evaluate_every: int = 400
    seed: int = 1
    threads: int = 2

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def tokens(self) -> int:
        return sum(phase.steps * phase.batch_tokens for phase in self.phases)


def train(recipe: Recipe, corpus: Path, out: Path, *, progress: bool = True) -> tuple[Any, PreTrainedTokenizerFast]:
    """Train the masked model into ``out`` and return it with its tokenizer."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "tokenizer.json").exists():
        train_tokenizer(corpus).save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    training, held_out = english_split(corpus)
    groups = by_length(tokenizer, training, MAX_LENGTH)
    model = build_masked(tokenizer)
    optimizer = _optimizer(model)
    done, seconds = _resume(out / "checkpoint.pt", model, optimizer)
    began = time.monotonic()
    bar = tqdm(total=recipe.steps, initial=done, disable=not progress, unit="step")
    for step, phase, rows in _schedule(recipe, groups, done):
        rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        mask = draw_mask(rows, phase.mask_power, rng)
        loss = masked_loss(model, rows, mask, tokenizer.mask_token_id)
        rate = phase.rate_at(step - _begin(recipe, phase)) * min(1.0, (step + 1) / recipe.warmup)
        _update(model, optimizer, loss, rate)
        bar.set_postfix_str(f"loss {loss.item():.2f}", refresh=False)
        bar.update()
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            elapsed = seconds + time.monotonic() - began
            figures = held_out_figures(model, tokenizer, held_out[:QUICK_CHECK])
            _append(out / "learning_curve.jsonl", {"step": step + 1, **figures, "seconds": round(elapsed)})
            model.train().requires_grad_(True)
            _save(out / "checkpoint.pt", model, optimizer, step + 1, elapsed)
    bar.close()
    return model, tokenizer


def held_out_figures(model: Any, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> dict[str, float]:
    """Pseudo-log-likelihood of held-out texts, as the sampler computes it."""
    lm = MaskedLM(model, tokenizer)
    energy, nats, tokens = lm.energy("pll"), 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(texts), 500):
            x = lm.space.encode(texts[start : start + 500])
            nats += energy(x).sum().item()
            tokens += int(lm.space.lengths(x).sum())
    characters = sum(map(len, texts))
    lm.close()
    return {"nats_per_token": nats / tokens, "nats_per_character": nats / characters}


def _schedule(recipe: Recipe, groups: dict[int, torch.Tensor], done: int) -> Iterator[tuple[int, Phase, torch.Tensor]]:
    """``(step, phase, rows)`` of the steps not yet done; each phase shuffles for itself."""
    for index, phase in enumerate(recipe.phases):
        begin = _begin(recipe, phase)
        first = min(max(0, done - begin), phase.steps)
        for step, rows in islice(batches(groups, phase.batch_tokens, recipe.seed + index, first), phase.steps - first):
            yield begin + step, phase, rows


def _begin(recipe: Recipe, phase: Phase) -> int:
    return sum(earlier.steps for earlier in recipe.phases[: recipe.phases.index(phase)])


def _optimizer(model: torch.nn.Module) -> torch.optim.AdamW:
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": 0.05},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _update(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)  # tensors and numbers only: no code is run
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], saved["seconds"]


def _save(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    partial = path.with_suffix(".part")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, partial)
    os.replace(partial, path)


def _append(path: Path, point: dict[str, float]) -> None:
    with path.open("a") as curve:
        curve.write(json.dumps(point) + "\n")
