"""What a text costs, and how that grows with its length."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from experiments.doctor.findings import Finding
from experiments.doctor.sample_texts import texts_of_words
from experiments.doctor.subject import Refused, Subject

__all__ = ["cost_findings"]

WORDS = (8, 32, 128)
TEXTS, TIMES = 16, 3  # in a call, and calls of which the fastest counts
PATIENCE = 2.0  # seconds that a call may take
SLOW = 0.01  # seconds a text, which a pass of a small model takes for many
STEEPER = 1.6  # exponent of the length above which longer texts are told


def cost_findings(subject: Subject) -> Iterator[Finding]:
    seconds: dict[int, float] = {}
    for words in WORDS:
        if seconds and max(seconds.values()) * TEXTS * (words / 8) ** 2 > PATIENCE * 4:
            break
        try:
            seconds[words] = min(
                _seconds(subject, words, turn)
                for turn in range(TIMES if not seconds or max(seconds.values()) < SLOW else 1)
            )
        except Refused as error:
            yield Finding(
                "error", "cost", f"{error.problem}, for texts of {words} words", error.remedy, texts_of_words(1, words)
            )
            return
    few, many = min(seconds), max(seconds)
    shown = f"{_in_words(seconds[few])} for a text of {few} words"
    shown += "".join(f", {_in_words(each)} for {words}" for words, each in seconds.items() if words > few)
    power = math.log(seconds[many] / seconds[few]) / math.log(many / few) if many > few else 0.0
    growth = f", which grows as the length to the {max(0.0, power):.1f}" if many > few else ""
    if seconds[few] > SLOW:
        yield Finding(
            "warning",
            "cost",
            shown + growth,
            "score all texts of the list together, in batches if it runs a model; keep what is costly to "
            "make outside the function, or remember texts with functools.lru_cache",
        )
    elif power > STEEPER and seconds[many] > SLOW / 10:
        yield Finding(
            "warning",
            "cost",
            shown + growth,
            "look for a loop in a loop over the words of a text, or keep texts short (--length)",
        )
    else:
        yield Finding("ok", "cost", shown + growth)


def _seconds(subject: Subject, words: int, turn: int) -> float:
    """Of a text, in a call with others that it has not seen."""
    texts = [text for text in texts_of_words(TEXTS, words, 1000 * words + 100 * turn) if subject.takes(text)]
    if not texts:
        raise Refused("takes no text of that length", "give it texts that it takes")
    began = time.perf_counter()
    subject.ask(texts)
    return max(1e-9, time.perf_counter() - began) / len(texts)


def _in_words(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds * 1e6:.0f} µs"
