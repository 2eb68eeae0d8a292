"""A plot as SVG: where its lines, bars, ticks and labels are, for the page's template to write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from experiments.pages.plot import Plot, finite_range, round_ticks

__all__ = ["BOX", "Box", "Drawing", "drawing"]

ROW, BAR = 44, 15  # heights of a group of bars, and of a bar
NAMES, SHARES = 150, 52  # widths of the names of bars, and of their figures


class Box(NamedTuple):
    """Size of the picture, with room for labels on the left and below, and a little above and on the right."""

    width: int
    height: int
    left: int
    below: int
    above: int
    right: int


BOX = Box(width=640, height=270, left=70, below=48, above=12, right=16)


class Drawing(NamedTuple):
    """``strokes``: path, hue, faintness; ``bars``: x, y, width, height, hue, label. Ticks: place and label."""

    plot: Plot
    box: Box
    strokes: list[tuple[str, int, bool]]
    bars: list[tuple[float, float, float, float, int, str]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]


def drawing(plot: Plot) -> Drawing | None:
    """``None`` where there is nothing to draw."""
    bounds = plot.bounds or finite_range(plot.lines)
    if bounds is None:
        return None
    return _bars(plot, bounds[1]) if plot.names else _lines(plot, bounds)


def _lines(plot: Plot, bounds: tuple[float, float]) -> Drawing | None:
    ends = [x for line in plot.lines for x in (line.x[:1], line.x[-1:]) if x]
    places = [_along(x[0], plot.log) for x in ends]
    first, last = min(places), max(places)
    if first == last:
        return None
    low, high = bounds
    unit = max(1.0, abs(low), abs(high))  # in which neither a sum nor a difference overflows
    if high / unit - low / unit < 1e-9:
        low, high = low - 0.5 - 1e-9 * unit, high + 0.5 + 1e-9 * unit
    width, height = BOX.width - BOX.left - BOX.right, BOX.height - BOX.above - BOX.below

    def column(x: float) -> float:
        share = (_along(x, plot.log) - first) / (last - first)
        return round(BOX.left + (1 - share if plot.falling else share) * width, 1)

    def row(y: float) -> float:
        return round(BOX.above + (high / unit - y / unit) / (high / unit - low / unit) * height, 1)

    strokes = [(" ".join(_stroke(line.x, line.y, column, row)), line.hue, line.faint) for line in plot.lines]
    begin, end = (10.0**first, 10.0**last) if plot.log else (first, last)
    across = [(column(x), _short(x)) for x in (_powers(begin, end) if plot.log else round_ticks(begin, end))]
    up = [(row(y), _short(y)) for y in round_ticks(low, high)]
    return Drawing(plot, BOX, strokes, [], across, up)


def _stroke(
    x: Sequence[float], y: Sequence[float], column: Callable[[float], float], row: Callable[[float], float]
) -> Iterator[str]:
    drawn = False
    for place, value in zip(x, y, strict=True):
        if math.isfinite(value):
            yield f"{'L' if drawn else 'M'}{column(place)} {row(value)}"
        drawn = math.isfinite(value)


def _bars(plot: Plot, high: float) -> Drawing:
    box = BOX._replace(height=BOX.above + ROW * len(plot.names) + BOX.below, left=NAMES, right=SHARES)
    width = box.width - box.left - box.right
    bars: list[tuple[float, float, float, float, int, str]] = []
    for index in range(len(plot.names)):
        for number, line in enumerate(plot.lines):
            y = box.above + ROW * index + BAR * number + 4
            value = line.y[index]
            share = value / high if high > 0 and math.isfinite(value) else 0.0
            bars.append((box.left, y, round(share * width, 1), BAR - 3, line.hue, f"{value:.0%}"))
    across = [(round(box.left + x / high * width, 1), f"{x:.0%}") for x in round_ticks(0.0, high)] if high > 0 else []
    up = [(box.above + ROW * index + BAR * len(plot.lines) / 2 + 4, name) for index, name in enumerate(plot.names)]
    return Drawing(plot, box, [], bars, across, up)


def _along(x: float, log: bool) -> float:
    return math.log10(x) if log else float(x)


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = (each * 10.0**exponent for exponent in exponents for each in (1, 2, 5))
    return [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]


def _short(value: float) -> str:
    """A tick is round: what floats leave of that is cut off."""
    return f"{value + 0.0:,.6g}" if abs(value) < 1e6 else f"{value:.3g}"
