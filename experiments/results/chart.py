"""The energy of Markov chains over their steps, as lines for an SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BOX", "Box", "Chart", "chart"]

CHAINS, POINTS = 20, 300  # at most, for people to see and browsers to draw
BELOW, ABOVE = 215, 30  # hues


class Box(NamedTuple):
    """Size of the picture, with room for labels on the left and below, and a little above."""

    width: int
    height: int
    left: int
    below: int
    above: int


BOX = Box(width=640, height=240, left=52, below=24, above=8)


class Chart(NamedTuple):
    """``paths`` as SVG draws them, one a chain, and their ``hues``; ``levels`` are heights with their nats.

    ``caption`` is below.
    """

    paths: list[str]
    hues: list[int]
    levels: list[tuple[float, str]]
    first: str
    last: str
    caption: str


def chart(steps: Sequence[int], energy: Tensor, from_below: Tensor | None = None) -> Chart | None:
    """``energy [chains, steps]``, in nats; ``None`` where there is no line to draw. Infinities are gaps.

    Chains ``from_below bool [chains]`` have one colour and the others another; without it each has its own.
    """
    every = math.ceil(len(steps) / POINTS)
    steps, rows = steps[::every], energy[:CHAINS, ::every].tolist()
    finite = [value for row in rows for value in row if math.isfinite(value)]
    if len(steps) < 2 or not finite:
        return None
    # In units in which neither their sum nor their difference overflows.
    unit = max(1.0, *map(abs, finite))
    low, high = min(finite) / unit, max(finite) / unit
    if high - low < 1e-9:  # all the same
        low, high = low - 0.5 / unit - 1e-9, high + 0.5 / unit + 1e-9
    across = (BOX.width - BOX.left) / (steps[-1] - steps[0])
    down = (BOX.height - BOX.above - BOX.below) / (high - low)
    columns = [BOX.left + (step - steps[0]) * across for step in steps]

    def height(value: float) -> float:
        return float(round(BOX.above + (high - value / unit) * down, 1))

    paths, hues = [" ".join(_strokes(columns, row, height)) for row in rows], _hues(len(rows), from_below)
    levels = [(height(value * unit), f"{value * unit:,.4g}") for value in (high, (low + high) / 2, low)]
    return Chart(paths, hues, levels, f"{steps[0]:,}", f"{steps[-1]:,}", _caption(len(energy), every, from_below))


def _strokes(columns: Sequence[float], row: Sequence[float], height: Callable[[float], float]) -> Iterator[str]:
    drawing = False
    for x, value in zip(columns, row, strict=True):
        if math.isfinite(value):
            yield f"{'L' if drawing else 'M'}{x:.1f} {height(value)}"
        drawing = math.isfinite(value)


def _hues(count: int, from_below: Tensor | None) -> list[int]:
    if from_below is None:
        return [round(360 * index / count) for index in range(count)]
    return [BELOW if low else ABOVE for low in from_below[:count].tolist()]


def _caption(chains: int, every: int, from_below: Tensor | None) -> str:
    which = f", {CHAINS} of the {chains:,} chains" if chains > CHAINS else ""
    thinned = f", one kept draw in {every:,}" if every > 1 else ""
    colours = "" if from_below is None else "; blue: chains that started from below, orange: from above"
    return f"Energy in nats by step{which}{thinned}{colours}."
