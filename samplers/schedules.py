"""Temperatures as pure functions of the step: ``schedule(step, steps) -> temperature``, ``step`` in ``0..steps-1``.

A temperature of 0 is hill climbing (``beta = inf``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from samplers.errors import InvalidInput

__all__ = ["Schedule", "constant", "geometric", "linear", "logarithmic"]

Schedule = Callable[[int, int], float]


def constant(temperature: float) -> Schedule:
    """The same temperature at every step."""
    _check(temperature, at_least=0.0)
    return lambda step, steps: temperature


def linear(start: float, end: float) -> Schedule:
    """From ``start`` at the first step to ``end`` at the last, in equal differences."""
    _check(start, end, at_least=0.0)
    return lambda step, steps: start + (end - start) * _fraction(step, steps)


def geometric(start: float, end: float) -> Schedule:
    """From ``start`` at the first step to ``end`` at the last, in equal ratios; both above 0."""
    _check(start, end, at_least=math.ulp(0.0))
    return lambda step, steps: start * (end / start) ** _fraction(step, steps)


def logarithmic(scale: float) -> Schedule:
    """``scale / log(step + 2)``.

    For a ``scale`` of at least the depth of the deepest local minimum, a chain finds a global minimum with probability
    tending to 1 (Hajek 1988, Math. Oper. Res. 13, theorem 1).
    """
    _check(scale, at_least=0.0)
    return lambda step, steps: scale / math.log(step + 2)


def _fraction(step: int, steps: int) -> float:
    return step / max(steps - 1, 1)


def _check(*temperatures: float, at_least: float) -> None:
    for value in temperatures:
        if not math.isfinite(value) or value < at_least:
            allowed = "above 0" if at_least > 0 else "0 or more"
            raise InvalidInput(f"the temperature {value} is out of range; give a finite number {allowed}")
