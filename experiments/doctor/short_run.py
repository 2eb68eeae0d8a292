"""What an energy does to a short run: the steps of ``gibbs`` from one text, with it and without."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.doctor.findings import Finding
from experiments.doctor.subject import Refused, Subject

__all__ = ["run_findings"]

RUN: Mapping[str, Any] = {"chains": 4, "steps": 10, "warmup": 0, "thin": 1}
COLLAPSED = 0.25  # of the share of steps that change the text without the energy


def run_findings(subject: Subject, values: Mapping[str, float], model: str, scorer: str | None) -> Iterator[Finding]:
    """``values`` of texts. All chains start from an allowed one that is neither good nor bad: the median of them."""
    from experiments.gibbs import gibbs
    from samplers import EnergyError

    starts = [text for text, value in values.items() if math.isfinite(value) and 4 <= len(text.split()) <= 8]
    if not starts:
        yield Finding("note", "run", "not tried: no text of 4 to 8 words is allowed", "give --texts FILE with one")
        return
    how: dict[str, Any] = {
        **RUN,
        "model": model,
        "scorer": scorer,
        "init": sorted(starts, key=values.__getitem__)[len(starts) // 2],
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with_it = gibbs(**how, energies=[subject.energy])
        except EnergyError as error:
            yield Finding("error", "run", str(error), "make it a number for every text, of that text alone")
            return
        without = gibbs(**how)
    for message in dict.fromkeys(str(each.message) for each in said if subject.name in str(each.message)):
        yield Finding("warning", "run", message, "see above")
    kept, free = with_it.trace.changed, without.trace.changed
    column = with_it.trace.term_names.index(subject.name)
    term = with_it.trace.terms[..., column]
    shown = f"{kept:.0%} of steps change the text, {free:.0%} without it"
    if kept < COLLAPSED * free:
        yield Finding(
            "warning",
            "run",
            f"{shown}: chains hardly move",
            "lower its weight, as in =0.1, and give prices, such as 5.0, in place of inf and of large steps",
        )
    elif float(term.max() - term.min()) == 0:
        yield Finding(
            "warning",
            "run",
            f"{shown}; its value was {float(term[0, 0]):.4g} nats in every draw",
            "chains see no way to lower it: price steps on the way (half a rhyme, one word of two), or start "
            "from a text that has them (--init)",
        )
    else:
        try:
            texts = [text for chain in without.texts() for text in chain]
            others = [value * subject.energy.weight for value in subject.ask(texts) if math.isfinite(value)]
        except Refused:
            others = []
        beside = f", {sum(others) / len(others):.2f} without it" if others else ""
        yield Finding("ok", "run", f"{shown}; its mean is {float(term.mean()):.2f} nats{beside}")
