"""What populations are drawn from, and the far end of a tempered path: laws of language near the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.setup.scorers import Scorer

if TYPE_CHECKING:
    from lm_adapters import Autoregressive, HeldTexts, KeywordFill, Lock, NextTokens, SequenceDistribution

__all__ = ["filled_by", "texts_of", "whole_texts"]


def filled_by(scored: Scorer, fill: KeywordFill, temperature: float) -> KeywordFill:
    """``fill``, but by the scorer itself, where that reads the same tokens from left to right."""
    from lm_adapters import LeftToRightFill, Truncation

    if scored.writer is None:
        return fill
    return LeftToRightFill(
        scored.writer,
        fill.model,
        fill.lock,
        min_length=fill.min_length,
        max_length=fill.max_length,
        truncation=Truncation(temperature),
        constraints=fill.constraints,
    )


def whole_texts(
    writer: Autoregressive, length: tuple[int, int], temperature: float, following: NextTokens | None = None
) -> SequenceDistribution:
    """Texts as ``writer`` writes them, of a ``length`` within bounds, token by token among those that may follow."""
    from lm_adapters import SequenceDistribution, Truncation

    return SequenceDistribution(
        writer, min_length=length[0], max_length=length[1], truncation=Truncation(temperature), following=following
    )


def texts_of(
    writer: Autoregressive | None,
    lock: Lock | None,
    length: tuple[int, int],
    temperature: float,
    following: NextTokens | None = None,
) -> SequenceDistribution | HeldTexts:
    """``whole_texts`` that hold what is locked, mostly. Raises ``InvalidInput`` where there is no writer."""
    from lm_adapters import HeldTexts
    from samplers import InvalidInput

    if writer is None:
        raise InvalidInput(
            f"{argument('sampler')} smc draws its texts from the scorer: give one that reads from left to right and "
            f"has the tokenizer of {argument('model')}"
        )
    drawn = whole_texts(writer, length, temperature, following)
    return drawn if lock is None else HeldTexts(drawn, lock)
