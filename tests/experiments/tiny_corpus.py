"""A corpus of nonsense in the format of the real one."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from experiments.training import data, loop
from experiments.training.recipe import Recipe
from experiments.training.tasks.causal import CausalTask
from experiments.training.tasks.masked import MaskedTask
from experiments.training.tasks.seq2seq import Seq2SeqTask

HELD_OUT = 20
TASKS = {"masked-en": MaskedTask, "causal-en": CausalTask, "seq2seq-en": Seq2SeqTask}
RECIPES = {
    name: Recipe(
        rate, steady=4, decay=4, batch_tokens=96, warmup=2, window=3, dropout=0.1, evaluate_every=5, compiled=False
    )
    for name, rate in (("masked-en", 1e-3), ("causal-en", 1e-3), ("seq2seq-en", 1e-2))
}


def write_corpus(folder: Path) -> Path:
    """300 sentences of each kind, as many translations, 120 paraphrases; held-out sentences stand everywhere."""
    rng = random.Random(0)
    words = ["red", "green", "isn't", "Blue", "été", "one"]
    rows = sorted({" ".join(rng.choices(words, k=5)) + "." for _ in range(320)})[:300]
    rng.shuffle(rows)
    # Every French sentence has two English ones.
    french = [f"{english}\tl'{rows[i - i % 2]}" for i, english in enumerate(rows)]
    rng.shuffle(french)
    german = [f"{english}\tdas {rows[i - i % 2]}" for i, english in enumerate(rows)]
    rng.shuffle(german)
    books = [*(f'"{row}" he said.' for row in rows[:-HELD_OUT]), *rows[-HELD_OUT:]]
    rng.shuffle(books)
    paraphrases = ["\t".join(rng.sample(rows, 2)) for _ in range(120)]
    files = {
        "tatoeba.eng.txt": rows,
        "tatoeba.eng-fra.tsv": french,
        "tatoeba.eng-deu.tsv": german,
        "tatoeba.eng-paraphrase.tsv": paraphrases,
        "books.eng.txt": books,
    }
    for name, lines in files.items():
        with gzip.open(folder / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return folder


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Settings to go with it."""
    patch.setattr(data, "HELD_OUT", HELD_OUT)
    for name in ("CHECK", "QUICK_CHECK", "GENERATED"):
        patch.setattr(f"experiments.training.tasks.seq2seq.{name}", 4)
    patch.setattr("experiments.training.bleu.MAX_LENGTH", 8)


def interrupted(patch: pytest.MonkeyPatch, at: int) -> None:
    """Let training be killed instead of making its ``at``-th update."""
    calls, real = 0, loop._update

    def update(*arguments: object) -> float:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return real(*arguments)

    patch.setattr(loop, "_update", update)
