"""Whole texts as a model from left to right draws them, and as it scores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lm_adapters import CausalLM, SequenceDistribution

__all__ = ["draw", "draw_texts"]

LENGTHS = (3, 16)  # tokens, as those of ``keywords``


def draw(distribution: SequenceDistribution, count: int, rng: torch.Generator) -> torch.Tensor:
    """``int64 [count, max_length]``. Cost: a pass of one token for each column, over the texts not yet at their end."""
    import torch

    space = distribution.model.space
    shape = (count, distribution.max_length)
    with torch.inference_mode():
        empty = torch.full(shape, space.pad_id, device=distribution.model.allowed.device)
        return distribution.redraw(empty, empty.new_zeros(count), rng, score_end=False).x


def draw_texts(lm: CausalLM, count: int, seed: int, lengths: tuple[int, int] = LENGTHS) -> list[str]:
    """The model's own texts, for which nothing was asked."""
    from lm_adapters import SequenceDistribution
    from samplers import generator

    distribution = SequenceDistribution(lm.condition_on(), min_length=lengths[0], max_length=lengths[1])
    return lm.space.decode(draw(distribution, count, generator(seed, device=lm.device, stream="judged")))
