"""Starts from above: texts that a model fills in, drawn and counted, or read from the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.setup.job import Job
from experiments.starts.made import stored_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import KeywordFill, MaskedLM, NextTokens, Template, Truncation
    from samplers import Energy, EnergyTerm

__all__ = ["drawn_starts", "keyword_starts", "length_starts", "template_starts"]


def drawn_starts(
    job: Job, models: Sequence[Any], draw: Callable[[torch.Generator], Tensor], stream: str = "starts"
) -> Tensor:
    """``int64 [chains, width]`` that ``draw`` makes of the generator of starts, or those that the run's folder holds.

    ``models``: whose passes count; the states are of the first one's ``space``.
    """
    import torch

    from samplers import generator

    lm, chains = models[0], job.settings.chains
    if job.directory is not None and (stored := stored_starts(job.directory.store, lm.space, chains)):
        job.starts.totals = stored.totals
        return stored.x.to(lm.device)
    rng = generator(job.settings.seed, device=lm.device, stream=stream)
    with job.starts.counted(each.model for each in models), torch.inference_mode():
        return draw(rng)


def keyword_starts(fill: KeywordFill, scorers: Iterable[Any], energy: Energy, job: Job, tries: int) -> Tensor:
    """``int64 [chains, width]``: for each chain one of ``tries`` texts of its own, drawn by its importance weight.

    Nearer to the target than a single text, so that less warm-up is needed, and still apart from each other.
    ``scorers``: models whose passes count too.
    """
    import torch

    from samplers import evaluate
    from samplers.randomness import categorical

    chains = job.settings.chains

    def draw(rng: torch.Generator) -> Tensor:
        with fill.model.space.texts_in_errors():
            x = fill.draw(chains * tries, rng)
            log_weight = -evaluate(energy, x, nan=job.settings.nan).energy - fill.log_prob(x)
        # Where a custom energy forbids every try, any of them.
        log_weight = log_weight.clamp(min=torch.finfo(torch.float64).min).reshape(chains, tries)
        chosen = categorical(log_weight, rng)
        return x.reshape(chains, tries, -1)[torch.arange(chains, device=x.device), chosen]

    return drawn_starts(job, [fill.model, *scorers], draw)


def template_starts(
    lm: MaskedLM,
    lock: Template,
    job: Job,
    truncation: Truncation,
    constraints: Sequence[EnergyTerm],
    following: NextTokens | None = None,
) -> Tensor:
    """Slots of lengths drawn uniformly, filled from left to right by the masked model with what may follow."""
    import torch

    from lm_adapters import fill_masks

    def draw(rng: torch.Generator) -> Tensor:
        counts = [
            [int(torch.randint(fewest, most + 1, (), generator=rng, device=lm.device)) for fewest, most in lock.slots]
            for _ in range(job.settings.chains)
        ]
        masks = lock.masks(counts, width=lock.max_length).to(lm.device)
        held = [lock, *constraints]
        return fill_masks(lm, masks, rng, truncation=truncation, constraints=held, following=following)

    return drawn_starts(job, [lm], draw)


def length_starts(
    lm: MaskedLM, truncation: Truncation, job: Job, constraints: Sequence[EnergyTerm], length: tuple[int, int]
) -> Tensor:
    """Lengths spread evenly over the range, and masks of these filled from left to right by the model."""
    import torch

    from lm_adapters import fill_masks

    low, high = length
    spread = low + torch.arange(job.settings.chains) % (high - low + 1)

    def draw(rng: torch.Generator) -> Tensor:
        masks = lm.space.masks(spread).to(lm.device)
        return fill_masks(lm, masks, rng, truncation=truncation, constraints=constraints)

    return drawn_starts(job, [lm], draw)
