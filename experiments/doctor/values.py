"""Whether an energy has a number for every text, and what these numbers can do beside those of the models."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from experiments.doctor.findings import Finding, Level
from experiments.doctor.subject import Refused, Subject

__all__ = ["answers", "value_findings"]

FORBIDDING = 0.5  # share of English texts that are forbidden, from which on chains hardly find a start
FLAT, STEEP = 0.05, 1e4  # nats between English texts: fewer do nothing, more decide all
COARSE = ("float16", "bfloat16", "half")
NO_LAW = {
    "NaN": "NaN is an error in a run: find the division or logarithm that makes it, and give the text a number or inf",
    "-inf": "exp(-energy) is infinite there, and no law is: give the lowest energy that you need, such as -10.0",
}


def answers(subject: Subject, texts: Sequence[str]) -> tuple[dict[str, float], list[Finding]]:
    """The energy of each text by itself, where it has one; and a finding for each way in which texts have none."""
    values: dict[str, float] = {}
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for text in texts:
        try:
            values[text] = subject.ask([text])[0]
        except Refused as error:
            refused[error.problem, error.remedy].append(text)
    findings = [Finding("error", "answers", problem, remedy, given) for (problem, remedy), given in refused.items()]
    if not findings:
        findings.append(Finding("ok", "answers", f"a number for each of {len(texts)} texts"))
    return values, findings


def value_findings(subject: Subject, values: dict[str, float], english: Sequence[str]) -> Iterator[Finding]:
    """``values`` by text, those of the ``english`` ones among them."""
    wrong = {
        "NaN": [text for text, value in values.items() if math.isnan(value)],
        "-inf": [text for text, value in values.items() if value == -math.inf],
    }
    for what, texts in wrong.items():
        if texts:
            yield Finding("error", "values", f"{what} for {len(texts)} of {len(values)} texts", NO_LAW[what], texts)
    if any(coarse in str(getattr(subject.returned, "dtype", "")) for coarse in COARSE):
        dtype = str(getattr(subject.returned, "dtype", "")).removeprefix("torch.")
        yield Finding(
            "warning",
            "values",
            f"{dtype} numbers, too coarse to compare texts by",
            "convert to float32 before adding anything up",
        )
    given = [values[text] for text in english if text in values]
    forbidden = [text for text in english if values.get(text) == math.inf]
    finite = [value for value in values.values() if math.isfinite(value)]
    if given and len(forbidden) > FORBIDDING * len(given):
        share = f"{len(forbidden)} of {len(given)} texts in English"
        level: Level = "error" if len(forbidden) == len(given) else "warning"
        yield Finding(
            level,
            "values",
            f"+inf forbids {share}, so that chains hardly find a text to start from",
            "give a price, such as 10.0, in place of inf, or start from a text that is allowed (--init)",
            forbidden,
        )
    if not finite:
        return
    spread = [value for value in given if math.isfinite(value)]
    width = max(spread) - min(spread) if spread else 0.0
    weighted = abs(subject.energy.weight) * width
    allowed = f"{sum(value == math.inf for value in values.values())} of {len(values)} texts forbidden"
    if any(map(len, wrong.values())):
        return
    if weighted > STEEP:
        yield Finding(
            "warning",
            "values",
            f"{weighted:.3g} nats apart in English texts, beside 20 to 40 of a model",
            "divide it, or give a weight, as in =0.01; otherwise it decides all",
        )
    elif weighted < FLAT and len(spread) > 1 and not forbidden:
        yield Finding(
            "warning",
            "values",
            f"the same to {weighted:.2g} nats in all {len(spread)} texts in English",
            "it changes no draw unless other texts tell more; give a weight, as in =10, or --texts FILE of "
            "texts that it should tell apart",
        )
    else:
        low, high = min(spread or finite) + 0.0, max(spread or finite) + 0.0  # no -0
        yield Finding("ok", "values", f"from {low:.4g} to {high:.4g} nats in English, {allowed}")
