"""Many texts by a model that knows what is wanted, and the best of them: where a search begins, and chains may."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from experiments.setup.job import Job
from experiments.starts.fill import drawn_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import Autoregressive, NextTokens, WordBoost
    from samplers import Energy

__all__ = ["best_first", "draw_widely", "written_starts"]

TEMPERATURES = (1.0, 0.7, 0.5)  # of a wide draw: warm texts are varied, cold ones likely
WIDE = 300  # texts of which a search begins with the best
TRIES = 10  # texts a chain, of which some lack what is wanted


def written_starts(
    writers: Sequence[Autoregressive],
    scorers: Iterable[Any],
    energy: Energy,
    x: Tensor,
    job: Job,
    *,
    min_length: int,
    max_length: int,
    wide: bool,
    following: NextTokens | None = None,
    boosts: Sequence[WordBoost | None] = (None,),
) -> Tensor:
    """The starts ``x int64 [chains, width]``, each replaced by a text of one of ``writers``, as far as there are such.

    Of all ``writers`` with each of the ``boosts``. Only texts that ``energy`` allows: as they are drawn, or the best of
    a ``wide`` draw and of ``x``, each once. ``scorers``: the models whose passes count; the writers, in the same
    tokens, belong to one.
    """
    import torch

    from samplers import evaluate

    def draw(rng: torch.Generator) -> Tensor:
        count = max(WIDE, TRIES * len(x)) if wide else TRIES * len(x)
        temperatures = TEMPERATURES if wide else (job.settings.law_temperature,)
        bounds: dict[str, Any] = {"min_length": min_length, "max_length": max_length, "following": following}
        space = writers[0].space
        with space.texts_in_errors():
            ways = list(product(writers, boosts))
            each = count // len(ways)
            drawn = torch.cat(
                [draw_widely(writer, each, rng, temperatures, boost=boost, **bounds) for writer, boost in ways]
            )
            drawn = torch.nn.functional.pad(drawn, (0, x.shape[1] - max_length), value=space.pad_id)
            if wide:
                kept = best_first(torch.cat([drawn, x]), energy, job)
            else:
                kept = drawn[evaluate(energy, drawn, nan=job.settings.nan).energy < math.inf]
        return torch.cat([kept[: len(x)], x[len(kept) :]])

    return drawn_starts(job, list(scorers), draw, stream="written starts")


def draw_widely(
    model: Autoregressive,
    count: int,
    rng: torch.Generator,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    min_length: int,
    max_length: int,
    following: NextTokens | None = None,
    boost: WordBoost | None = None,
) -> Tensor:
    """``int64 [count, max_length]``, about as many at each of ``temperatures``, drawn token by token."""
    import torch

    from lm_adapters import SequenceDistribution, Truncation

    parts = []
    for temperature, rows in zip(temperatures, torch.arange(count).chunk(len(temperatures)), strict=True):
        truncation = Truncation(temperature)
        bounds: dict[str, Any] = {"min_length": min_length, "max_length": max_length}
        law = SequenceDistribution(model, truncation=truncation, following=following, boost=boost, **bounds)
        empty = torch.full((len(rows), max_length), model.space.pad_id, device=model.allowed.device)
        parts.append(law.redraw(empty, empty.new_zeros(len(rows)), rng, score_end=False).x)
    return torch.cat(parts)


def best_first(x: Tensor, energy: Energy, job: Job) -> Tensor:
    """The different ones of the texts ``x int64 [rows, width]`` that ``energy`` allows, the lowest first."""
    from samplers import evaluate

    distinct = x.unique(dim=0)
    nats = evaluate(energy, distinct, nan=job.settings.nan).energy
    order = nats.argsort(stable=True)[: int((nats < math.inf).sum())]
    ranked: Tensor = distinct[order]
    return ranked
