"""What each term of an energy costs: how many states it scored, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["TermCost", "measure_terms", "measured"]


@dataclass
class TermCost:
    """``states`` scored by one term and ``seconds`` of waiting for them. A GPU that works on meanwhile is not seen."""

    states: int = 0
    seconds: float = 0.0


_meters: list[dict[str, TermCost]] = []
_running: list[str] = []


@contextmanager
def measure_terms() -> Iterator[dict[str, TermCost]]:
    """Cost, by name, of the terms that are called in the block."""
    costs: dict[str, TermCost] = {}
    _meters.append(costs)
    try:
        yield costs
    finally:
        _meters[:] = [meter for meter in _meters if meter is not costs]


@contextmanager
def measured(name: str, states: int) -> Iterator[None]:
    """Count the block as a call of the term ``name``; in another call of that name only its states are added."""
    if not _meters:
        yield
        return
    inside, began = name in _running, time.perf_counter()
    _running.append(name)
    try:
        yield
    finally:
        _running.pop()
        seconds = 0.0 if inside else time.perf_counter() - began
        for costs in _meters:
            cost = costs.setdefault(name, TermCost())
            cost.states += states
            cost.seconds += seconds
