"""What populations are drawn from, and the far end of a tempered path: laws of language near the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.setup.scorers import Scorer

if TYPE_CHECKING:
    from lm_adapters import Autoregressive, HeldTexts, KeywordFill, Lock, NextTokens, SequenceDistribution, WordBoost

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
    writer: Autoregressive,
    length: tuple[int, int],
    temperature: float,
    following: NextTokens | None = None,
    *,
    top_p: float = 1.0,
    boost: WordBoost | None = None,
) -> SequenceDistribution:
    """Texts as ``writer`` writes them, of a ``length`` within bounds, token by token among those that may follow.

    Within a nucleus at temperature 1 only: at another one it would not be that of the law.
    """
    from lm_adapters import SequenceDistribution, Truncation

    return SequenceDistribution(
        writer,
        min_length=length[0],
        max_length=length[1],
        truncation=Truncation(temperature, top_p=top_p if temperature == 1 else 1.0),
        following=following,
        boost=boost,
    )


def texts_of(
    writer: Autoregressive | None,
    lock: Lock | None,
    length: tuple[int, int],
    temperature: float,
    following: NextTokens | None = None,
    *,
    top_p: float = 1.0,
    boost: WordBoost | None = None,
) -> SequenceDistribution | HeldTexts:
    """``whole_texts`` that hold what is locked, mostly; a nucleus, which locked words may be outside of, only without.

    ``boost``: of the words that are locked.

    Raises ``InvalidInput`` where there is no writer.
    """
    from lm_adapters import HeldTexts
    from samplers import InvalidInput

    if writer is None:
        raise InvalidInput(
            f"{argument('sampler')} smc draws its texts from the scorer: give one that reads from left to right and "
            f"has the tokenizer of {argument('model')}"
        )
    drawn = whole_texts(writer, length, temperature, following, top_p=1.0 if lock else top_p, boost=boost)
    return drawn if lock is None else HeldTexts(drawn, lock)
