"""Whether the energy of a text depends on that text alone: in any company and order, again and again."""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from experiments.doctor.findings import Finding
from experiments.doctor.subject import Refused, Subject

__all__ = ["alone_findings"]

# As in a run, which ends where they are further apart: rows of a model's pass are rounded otherwise beside others.
RELATIVE, ABSOLUTE, AGAIN = 1e-5, 1e-3, 1e-5
BESIDE = (
    "compute each number from its own text: no rank, mean, maximum or length of the whole list, and no sorting of it; "
    "a model's padding has to be masked, and the model in float32 and eval()"
)
CHANGES = (
    "take out what changes between calls: random numbers, counters, the clock, lists that grow; a model needs eval(); "
    "a generator may be seeded by the text"
)


def alone_findings(subject: Subject, values: Mapping[str, float]) -> Iterator[Finding]:
    """``values`` of texts by themselves. Every other way to ask for them has to give the same."""
    texts = list(values)
    before = _global_states()
    faults: list[Finding] = []
    for check, asked, when, remedy in _ways(texts):
        try:
            found = subject.ask(asked)
        except Refused as error:
            faults.append(Finding("error", check, f"{error.problem}, {when}", error.remedy, asked[:1]))
            continue
        again = check == "again"
        pairs = list(zip(asked, found, strict=True))
        if different := [each for each in pairs if _differs(values[each[0]], each[1], again)]:
            text, value = max(different, key=lambda each: _gap(values[each[0]], each[1]))
            both = f"{values[text]:.7g} for a text alone and {value:.7g} {when}"
            faults.append(Finding("error", check, both, remedy, [text]))
        elif again and (moved := [text for text, value in pairs if value != values[text] and value == value]):
            faults.append(Finding("warning", check, f"other last digits {when}", remedy, moved))
    by_check = {each.check: each for each in reversed(faults)}  # the first of each
    if "again" in by_check:
        yield by_check["again"]  # beside others it must differ then, too
    else:
        yield Finding("ok", "again", "the same when it is asked again")
        yield by_check.get("beside", Finding("ok", "beside", "the same beside other texts and in any order"))
    if subject.wrote:
        yield Finding(
            "warning",
            "argument",
            "it writes into what it is given, which is a copy in a run",
            "work on a copy, such as sorted(texts) in place of texts.sort(): what it wrote must not matter",
        )
    for what, remedy in _changed(before, _global_states()):
        yield Finding("warning", "process", f"it changes {what}, on which other code may depend", remedy)


def _ways(texts: Sequence[str]) -> Iterator[tuple[str, list[str], str, str]]:
    """The check, what to ask for, in words, and the remedy."""
    for time in ("a second time", "a third time", "later"):
        for text in texts[:4]:
            yield "again", [text], time, CHANGES
    mixed = sorted(texts, key=lambda text: hashlib.sha256(text.encode(errors="replace")).digest())
    yield "beside", list(texts), "beside others", BESIDE
    yield "beside", list(reversed(texts)), "in reverse order", BESIDE
    yield "beside", mixed, "in another order", BESIDE
    yield "beside", list(texts[::2]), "beside half of the others", BESIDE
    yield "beside", list(texts[1::2]), "beside half of the others", BESIDE
    yield "beside", [*mixed, *texts], "beside a second copy of itself", BESIDE
    for text in (texts[0], texts[-1], mixed[0]):
        yield "again", [text], "after other texts", CHANGES


def _differs(one: float, other: float, again: bool) -> bool:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return False
    return not _gap(one, other) <= (AGAIN if again else ABSOLUTE) + RELATIVE * abs(one)


def _gap(one: float, other: float) -> float:
    gap = abs(one - other)
    return math.inf if math.isnan(gap) else gap


def _global_states() -> Mapping[str, object]:
    import numpy as np
    import torch

    return {
        "Python's random numbers": random.getstate(),
        "NumPy's random numbers": repr(np.random.get_state(legacy=False)),
        "torch's random numbers": torch.random.get_rng_state().numpy().tobytes(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "the current folder": _attempt(os.getcwd),
    }


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for what, state in before.items():
        if state != after[what]:
            own = "use a generator of its own, such as random.Random(text)"
            yield what, own if "random" in what else "leave that as it was"


def _attempt(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except OSError:
        return ""
