"""What a plot shows, apart from how it is drawn: lines or bars, their labels, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Line", "Plot", "finite_range", "hues", "round_ticks"]

ABOUT = 5  # ticks of an axis
BELOW, ABOVE = 215, 30  # hues of chains that started there


@dataclass(frozen=True)
class Line:
    """Points ``(x[i], y[i])``; NaN and infinities are gaps. ``hue`` in degrees; a ``faint`` line is a reference.

    Lines with the same ``label`` are one entry of the legend; those without one have none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    hue: int
    faint: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over ``across``, or, with ``names``, bars: a group for each name, of which each line gives one bar.

    ``name``: of its files. ``caption`` says what is seen and what it should look like. ``log``: the x axis is
    logarithmic; ``falling``: it runs from high to low. ``bounds`` of the y axis, where they are not those of the data.
    """

    name: str
    title: str
    across: str
    up: str
    lines: Sequence[Line]
    caption: str
    names: Sequence[str] = ()
    log: bool = False
    falling: bool = False
    bounds: tuple[float, float] | None = None

    def legend(self) -> list[tuple[str, int, bool]]:
        """Label, hue and faintness, each label once; empty where there is nothing to tell apart."""
        entries = {line.label: (line.label, line.hue, line.faint) for line in self.lines if line.label}
        return list(entries.values()) if len(entries) > 1 or self.names else []

    def rows(self) -> Iterator[tuple[str, float | str, float]]:
        """Series, place and value of every point."""
        for number, line in enumerate(self.lines):
            label = line.label or f"series {number}"
            places: Sequence[float | str] = self.names or line.x
            yield from ((label, x, y) for x, y in zip(places, line.y, strict=True))


def hues(count: int) -> list[int]:
    """Colours to tell apart, as far as so many can be."""
    return [round(210 + 360 * index / max(count, 1)) % 360 for index in range(count)]


def finite_range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """The least and the largest finite height; ``None`` where there is none."""
    values = [value for line in lines for value in line.y if math.isfinite(value)]
    return (min(values), max(values)) if values else None


def round_ticks(low: float, high: float, about: int = ABOUT) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within ``low <= high``, at least two of them where floats can.

    An axis of one value gets ticks around it.
    """
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-300):
        return [low]
    if not math.isfinite(high - low):
        return [low, 0.0, high]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
