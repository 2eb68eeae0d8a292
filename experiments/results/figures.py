"""Figures that several kinds of run print the same way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["distinct", "number", "self_bleu", "shares"]

SELF_BLEU_TEXTS = 200  # self-BLEU compares all pairs; more texts than this would take longer than the sampling


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 (0 to 100) of each text against all others: low is diverse. NaN for fewer than two texts."""
    from sacrebleu.metrics.bleu import BLEU

    texts = list(texts[:SELF_BLEU_TEXTS])
    if len(texts) < 2:
        return math.nan
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    return sum(scores) / len(scores)


def distinct(summary: Mapping[str, Any], draws: int) -> str:
    return f"{summary['distinct']:,} of {draws:,}"


def shares(terms: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The line of an energy's terms, where more than one has a part in it."""
    parts = [f"{name} {value:.2f}" for name, value in terms.items() if value != 0]
    if len(parts) > 1:
        yield "of it", ", ".join(parts)


def number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)
