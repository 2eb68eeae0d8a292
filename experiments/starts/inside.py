"""Starts inside the nucleus of the model that scores: texts outside it are no texts of the law."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.setup.job import Job
from experiments.starts.fill import drawn_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from experiments.setup.scorers import Scorer
    from lm_adapters import Keywords, MaskedLM
    from samplers import Energy

__all__ = ["starts_inside"]

ROUNDS, TOGETHER = 20, 16  # of texts drawn for the starts that are missing, and how many for each


def starts_inside(
    scored: Scorer,
    top_p: float,
    energy: Energy,
    x: Tensor,
    job: Job,
    models: Mapping[str, Any],
    lock: Keywords | None = None,
) -> Tensor:
    """The starts ``x int64 [chains, width]``; those that ``energy`` forbids become texts that it allows.

    With ``top_p`` 1 they stay what they are. The new ones are drawn by the scorer within its nucleus, no warmer than
    its own law, around the words of ``lock`` where there is one; where too few are allowed, some start several chains.
    ``models``: those whose passes count; ``model`` is the one that proposes. Raises ``InvalidInput`` where none is
    allowed.
    """
    if top_p == 1:
        return x
    law = _drawn_from(scored, top_p, x.shape[1], job, models["model"], lock)

    def draw(rng: torch.Generator) -> Tensor:
        import torch

        from samplers import InvalidInput

        with scored.lm.space.texts_in_errors():
            missing = (~_allowed(energy, x, job)).nonzero().squeeze(1)
            kept = x[:0]
            for _ in range(ROUNDS):
                if len(kept) >= len(missing):
                    break
                drawn = law(TOGETHER * len(missing), rng)
                kept = torch.cat([kept, drawn[_allowed(energy, drawn, job)]])
        if len(missing) and not len(kept):
            raise InvalidInput(
                f"no text that the scorer draws within {argument('top_p')} {top_p:g} is allowed by the rest of the "
                f"law; raise {argument('top_p')}"
            )
        return x.index_copy(0, missing, kept[[at % len(kept) for at in range(len(missing))]]) if len(missing) else x

    return drawn_starts(job, list(models.values()), draw, stream="starts inside")


def _allowed(energy: Energy, x: Tensor, job: Job) -> Tensor:
    """``bool [rows]``."""
    from samplers import evaluate

    return evaluate(energy, x, nan=job.settings.nan).energy < math.inf


def _drawn_from(
    scored: Scorer, top_p: float, width: int, job: Job, model: MaskedLM, lock: Keywords | None
) -> Callable[[int, torch.Generator], Tensor]:
    """So many texts ``int64 [count, width]`` of a generator."""
    import torch

    from lm_adapters import LeftToRightFill, SequenceDistribution, Truncation

    writer = scored.writer
    assert writer is not None, "a nucleus is that of a model that reads from left to right"
    bounds: dict[str, Any] = {
        "max_length": min(width, writer.max_length),
        "truncation": Truncation(min(1.0, job.settings.law_temperature), top_p=top_p),
    }

    def padded(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=writer.space.pad_id)

    if lock is not None:
        fill = LeftToRightFill(writer, model, lock, min_length=1, **bounds)
        return lambda count, rng: padded(fill.draw(count, rng))
    law = SequenceDistribution(writer, **bounds)

    def draw(count: int, rng: torch.Generator) -> Tensor:
        empty = torch.full((count, bounds["max_length"]), writer.space.pad_id, device=writer.allowed.device)
        return padded(law.redraw(empty, empty.new_zeros(count), rng, score_end=False).x)

    return draw
