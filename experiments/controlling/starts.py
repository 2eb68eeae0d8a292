"""Texts of the words of a source, among which some have the attribute: where chains and searches begin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from experiments.setup.job import Job
from experiments.starts.fill import drawn_starts
from experiments.starts.written import best_first, draw_widely

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import Seq2SeqLM
    from samplers import Energy

__all__ = ["rewritten_starts"]

KEEP = (0.3, 0.5, 0.7)  # words of the source that a text is written around, by thirds of the texts
WIDE = 600  # texts of which a search begins with the best
TRIES = 10  # texts a chain, of which some are not allowed


def rewritten_starts(
    lm: Seq2SeqLM, task: str, text: str, energy: Energy, x: Tensor, job: Job, *, lengths: tuple[int, int], wide: bool
) -> Tensor:
    """The starts ``x int64 [chains, width]``, all of them ``text``, each replaced by what ``lm`` makes of it.

    Half are written by its ``task``, which hardly ever makes another kind of text; the others around a few words, as a
    model writes that knows of no source. Only texts that ``energy`` allows: the best of a ``wide`` draw and of ``x``,
    each once, or as they are drawn.
    """
    import torch

    from lm_adapters import RewriteProposal, writes_words
    from samplers import evaluate

    writer = lm.condition_on(text, lm.task_prefix(task))
    shortest, longest = lengths[0], min(lengths[1], writer.max_length)

    def draw(rng: torch.Generator) -> Tensor:
        count = max(WIDE, TRIES * len(x)) if wide else TRIES * len(x)
        with lm.space.texts_in_errors():
            drawn = draw_widely(writer, count // 2, rng, min_length=shortest, max_length=longest)
            parts = [torch.nn.functional.pad(drawn, (0, x.shape[1] - longest), value=lm.space.pad_id)]
            for keep in KEEP if writes_words(lm) else ():
                rewrite = RewriteProposal(lm, keep=keep, min_length=shortest, max_length=longest)
                parts.append(rewrite(x[:1].expand(count // 2 // len(KEEP), -1), rng).x)
            drawn = torch.cat(parts)
            if wide:
                kept = best_first(torch.cat([drawn, x]), energy, job)
            else:
                mixed = drawn[torch.randperm(len(drawn), generator=rng, device=rng.device)]
                kept = mixed[evaluate(energy, mixed, nan=job.settings.nan).energy < math.inf]
        return torch.cat([kept[: len(x)], x[len(kept) :]])

    return drawn_starts(job, [lm], draw, stream="written starts")
