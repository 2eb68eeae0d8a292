"""Starts of chains that continue a prompt: texts as the model writes them, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.setup.job import Job
from experiments.starts.fill import drawn_starts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import Autoregressive, LanguageModel, NextTokens, Truncation
    from samplers import Energy

__all__ = ["continued_starts"]

TRIES = 1000  # texts a chain, among which one must be allowed


def continued_starts(
    lm: LanguageModel,
    reader: Autoregressive,
    truncation: Truncation,
    energy: Energy,
    length: tuple[int, int],
    job: Job,
    following: NextTokens | None = None,
) -> Tensor:
    """``int64 [chains, width]`` of what may be ``following``, given that the constraints of ``energy`` allow them.

    Raises ``InvalidInput`` where they hardly ever do.
    """
    from lm_adapters import AdaptiveRejection, SequenceDistribution
    from samplers import InvalidInput, WeightedSum

    law = SequenceDistribution(
        reader, min_length=length[0], max_length=length[1], truncation=truncation, following=following
    )
    parts = energy.parts if isinstance(energy, WeightedSum) else []
    constraints = [(1.0, part) for _, part in parts if part.is_constraint]
    chains = job.settings.chains

    def draw(rng: torch.Generator) -> Tensor:
        import torch

        if not constraints:
            empty = torch.full((chains, length[1]), lm.space.pad_id, device=lm.device)
            return law.redraw(empty, empty.new_zeros(chains), rng, score_end=False).x
        drawn = AdaptiveRejection(law, WeightedSum(constraints)).draw(chains, rng, max_trials=TRIES * chains)
        if len(drawn.x) < chains:
            names = " and ".join(repr(part.name) for _, part in constraints)
            raise InvalidInput(
                f"{names} forbids all but {len(drawn.x)} of {drawn.trials:,} continuations; give a weaker condition"
            )
        return drawn.x

    return drawn_starts(job, [lm], draw)
