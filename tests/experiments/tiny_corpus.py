"""A corpus of nonsense in the format of the real one."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from experiments.training import data, loop
from experiments.training.causal import CausalTask
from experiments.training.masked import MaskedPhase, MaskedTask
from experiments.training.recipe import Phase, Recipe
from experiments.training.seq2seq import Seq2SeqTask

HELD_OUT = 20
TASKS = {"masked-en": MaskedTask, "causal-en": CausalTask, "seq2seq-en": Seq2SeqTask}
SETTINGS = {"warmup": 2, "evaluate_every": 5, "threads": 1}
PHASES = (Phase(4, 1e-3, 1e-3, 64), Phase(4, 1e-3, 0.0, 96))
RECIPES = dict.fromkeys(TASKS, Recipe(PHASES, **SETTINGS)) | {
    "masked-en": Recipe((MaskedPhase(4, 1e-3, 1e-3, 64, 2), MaskedPhase(4, 1e-3, 0.0, 96, 5)), **SETTINGS)
}


def write_corpus(folder: Path) -> Path:
    """300 sentences, as many translations, 120 paraphrases; held-out sentences stand everywhere in the pairs."""
    rng = random.Random(0)
    words = ["red", "green", "isn't", "Blue", "été", "one"]
    rows = sorted({" ".join(rng.choices(words, k=5)) + "." for _ in range(320)})[:300]
    rng.shuffle(rows)
    # Every French sentence has two English ones.
    french = [f"{english}\tl'{rows[i - i % 2]}" for i, english in enumerate(rows)]
    rng.shuffle(french)
    paraphrases = ["\t".join(rng.sample(rows, 2)) for _ in range(120)]
    files = {"eng.txt": rows, "eng-fra.tsv": french, "eng-paraphrase.tsv": paraphrases}
    for name, lines in files.items():
        with gzip.open(folder / f"tatoeba.{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return folder


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Settings to go with it."""
    patch.setattr(data, "HELD_OUT", HELD_OUT)
    patch.setattr(data, "VOCABULARY", 330)
    for name in ("CHECK", "QUICK_CHECK", "GENERATED"):
        patch.setattr(f"experiments.training.seq2seq.{name}", 4)
    patch.setattr("experiments.training.bleu.MAX_LENGTH", 8)


def interrupted(patch: pytest.MonkeyPatch, at: int) -> None:
    """Let training be killed instead of making its ``at``-th update."""
    calls, real = 0, loop._update

    def update(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        real(*arguments)

    patch.setattr(loop, "_update", update)
