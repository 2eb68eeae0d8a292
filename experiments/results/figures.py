"""Figures that several kinds of run print the same way."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from experiments.judging.repetition import Repetition, in_words

__all__ = [
    "RATE",
    "by_start_in_words",
    "distinct",
    "efficiency_in_words",
    "energy_in_words",
    "nats",
    "number",
    "of_repetition",
    "repeats",
    "self_bleu",
    "shares",
    "value_in_words",
]

SELF_BLEU_TEXTS = 200  # self-BLEU compares all pairs; more texts than this would take longer than the sampling

LARGE = 1e7  # nats
RATE = ".3g"  # of what there is in a second or a million tokens
DEEPEST = 4  # lists within lists that are put into words


def value_in_words(value: Any, depth: int = 0) -> str:
    """What ``summary.json`` has of anything, as a person writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else number(value, ".5g")
    if depth < DEEPEST and isinstance(value, list | Mapping):
        named = list(value.items()) if isinstance(value, Mapping) else [("", each) for each in value]
        parts = [f"{str(name).replace('_', ' ')} {value_in_words(each, depth + 1)}".strip() for name, each in named]
        return ("; " if any(isinstance(each, list | Mapping) for _, each in named) else ", ").join(parts)
    return str(value)


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


def shares(terms: Mapping[str, float], constraints: Collection[str]) -> Iterator[tuple[str, str]]:
    """The line of an energy's terms, where it has several. Constraints are left out: they are 0 in every text."""
    parts = [f"{name} {nats(value)}" for name, value in terms.items() if name not in constraints]
    if len(parts) > 1:
        yield "of it", ", ".join(parts)


def of_repetition(found: Repetition | None) -> dict[str, dict[str, float]]:
    """As ``summary.json`` has it, where there are texts enough to tell."""
    return {"repetition": found._asdict()} if found else {}


def repeats(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The line of how much the texts repeat themselves, where there are enough of them to tell."""
    if "repetition" in summary:
        yield "repetition", in_words(Repetition(*(float(summary["repetition"][name]) for name in Repetition._fields)))


def by_start_in_words(summary: Mapping[str, Any]) -> str:
    below, above = (
        f"from {side} {nats(summary[f'energy_from_{side}'])} +- {nats(summary[f'energy_from_{side}_mcse'])}"
        for side in ("below", "above")
    )
    return f"{below}, {above} nats"


def energy_in_words(summary: Mapping[str, Any], temperature: float, error: str = "") -> str:
    """Of a text and of a token. A law at a temperature has all its energies divided by it, which is said."""
    divided = "" if temperature == 1 else f", divided by {temperature:g}"
    text, token = nats(summary["energy_mean"]), nats(summary["energy_per_token"])
    return f"{text}{error} nats a text, {token} a token{divided}"


def efficiency_in_words(summary: Mapping[str, Any]) -> str:
    second, million = (number(summary[f"ess_per_{unit}"], RATE) for unit in ("second", "million_tokens"))
    return f"{second} a second, {million} a million tokens"


def nats(value: float) -> str:
    """With two places, and with few figures where those would be many; "-" for NaN."""
    return number(value, ".4g" if LARGE <= abs(value) < math.inf else ".2f")


def number(value: float | str, spec: str) -> str:
    """``value`` may be as JSON keeps what is no number or infinite: a word. Thousands of a ``RATE`` are written out."""
    if math.isnan(float(value)):
        return "-"
    many = spec == RATE and 999.5 <= float(value) < math.inf
    return format(float(value), ",.0f" if many else spec)
