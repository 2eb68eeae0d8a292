"""Shorter texts made of a long one: parts of it, and what a model writes of some of its words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from experiments.setup.job import Job
from experiments.starts.fill import drawn_starts
from experiments.starts.written import TEMPERATURES, TRIES, WIDE, best_first

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import Seq2SeqLM
    from samplers import Energy

__all__ = ["extracts", "shorter_starts", "with_two_gaps"]

GAPS = 200  # texts of which two parts are left out
TASKS = ("words_to_sentence", "denoise")  # by either a model writes a text of words
SHARES = (0.4, 0.65, 0.9)  # of the words that a text may have, as many are kept of the source


def extracts(text: str, most: int) -> list[str]:
    """Of at most ``most`` words: neighbouring words of the text, and its beginning with its end, the longest first.

    Each begins with a capital letter where the text does, and ends with the marks that the text ends with.
    """
    from lm_adapters import word_spans

    words = word_spans(text)
    count, marks = len(words), text[words[-1][1] :]
    pieces = []
    for size in range(most, 0, -1):
        pieces += [text[words[at][0] : words[at + size - 1][1]] + marks for at in range(count - size + 1)]
        pieces += [f"{text[: words[at - 1][1]]} {text[words[count - size + at][0] :]}" for at in range(1, size)]
    if text[:1].isupper():
        pieces = [piece[0].upper() + piece[1:] for piece in pieces]
    return list(dict.fromkeys(pieces))


def with_two_gaps(text: str, most: int) -> list[str]:
    """The text without two of its inner parts: of ``most`` words or one fewer, and ``GAPS`` of these at most."""
    from lm_adapters import word_spans

    words = word_spans(text)
    count = len(words)
    parts = [
        (before, start, start + size - before - after, count - after)
        for size in (most, most - 1)
        for before in range(1, size - 1)
        for after in range(1, size - before)
        for start in range(before + 1, count - size + before)
    ]
    pieces = [
        f"{text[: words[before - 1][1]]} {text[words[start][0] : words[stop - 1][1]]} {text[words[end][0] :]}"
        for before, start, stop, end in parts[:: len(parts) // GAPS + 1]
    ]
    return list(dict.fromkeys(pieces))


def shorter_starts(
    x: Tensor,
    source: Tensor,
    writer: Seq2SeqLM | None,
    models: Sequence[Any],
    energy: Energy,
    job: Job,
    *,
    share: float,
    wide: bool,
) -> Tensor:
    """``int64 [chains, width]`` of the extracts ``x int64 [rows, width]`` and of what ``writer`` writes.

    Texts that ``energy`` allows, drawn at random; or the best of a ``wide`` draw, each once, as far as there are such.
    The ``writer`` is given some words of ``source int64 [1, width]``, in its tokens; ``share``, below 1: of its words
    as many as a text may have. ``models`` are those whose passes count.
    """
    import torch

    from samplers import evaluate

    chains = job.settings.chains

    def draw(rng: torch.Generator) -> Tensor:
        count = max(WIDE, TRIES * chains) if wide else TRIES * chains
        temperatures = TEMPERATURES if wide else (job.settings.law_temperature,)
        some = x[torch.randperm(len(x), generator=rng, device=rng.device)[:count].to(x.device)]
        with models[0].space.texts_in_errors():
            drawn = some
            if writer is not None:
                drawn = torch.cat([some, *_written(writer, source, count, rng, temperatures, share)])
            if wide:
                kept = best_first(drawn, energy, job)
            else:
                drawn = drawn[torch.randperm(len(drawn), generator=rng, device=rng.device).to(x.device)]
                kept = drawn[evaluate(energy, drawn, nan=job.settings.nan).energy < math.inf]
        if not len(kept):  # a custom energy may forbid all
            kept = x
        return kept[[chain % len(kept) for chain in range(chains)]]

    return drawn_starts(job, models, draw, stream="written starts")


def _written(
    writer: Seq2SeqLM, source: Tensor, count: int, rng: torch.Generator, temperatures: Sequence[float], share: float
) -> Iterator[Tensor]:
    """``int64 [about count / parts, width]`` for each task of the model, share of words and temperature."""
    from lm_adapters import RewriteProposal, Truncation

    prefixes = [writer.task_prefix(task) for task in TASKS if task in writer.tasks]
    ways = list(product(prefixes, SHARES, temperatures))
    for prefix, part, temperature in ways:
        length, truncation = source.shape[1], Truncation(temperature)
        move = RewriteProposal(writer, keep=part * share, max_length=length, truncation=truncation, prefix=prefix)
        yield move(source.expand(math.ceil(count / len(ways)), -1), rng).x
