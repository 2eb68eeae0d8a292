"""The plots of a page as files: pictures, drawn by matplotlib, and their numbers."""

from __future__ import annotations

import colorsys
import csv
import io
import math
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.pages.plot import Plot, finite_range

__all__ = ["check_can_draw", "write_plots"]

SIZE, DOTS = (8, 4), 150  # inches, and dots an inch


def check_can_draw() -> None:
    """Raise ``InvalidInput`` where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        from samplers import InvalidInput

        raise InvalidInput(
            "pictures need matplotlib, which is missing; install it with: pip install 'mcmc-text[plots]'"
        )


def write_plots(folder: Path, plots: Sequence[Plot], formats: Collection[str]) -> None:
    """``NAME.png`` and ``NAME.csv`` of each plot, as ``formats`` asks for. Raises ``StoreError``."""
    from samplers import StoreError
    from samplers.storage import write_atomically

    if folder.is_symlink():
        raise StoreError(f"{str(folder)!r} is a symbolic link; remove it")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"{str(folder)!r} cannot be made ({error.strerror})") from error
    for plot in plots:
        if "csv" in formats:
            write_atomically(folder / f"{plot.name}.csv", _numbers(plot).encode())
        if "png" in formats and finite_range(plot.lines):
            write_atomically(folder / f"{plot.name}.png", _picture(plot))


def _numbers(plot: Plot) -> str:
    """A row for each point; what would be a formula in a spreadsheet is text there."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["series", "move" if plot.names else plot.across, plot.up or "value"])
    writer.writerows((_text(label), _text(x) if isinstance(x, str) else x, y) for label, x, y in plot.rows())
    return out.getvalue()


def _text(value: str) -> str:
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value


def _picture(plot: Plot) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    (_bars if plot.names else _lines)(axes, plot)
    axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
    axes.title.set_parse_math(False)
    axes.grid(alpha=0.3)
    if entries := plot.legend():
        shown = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        labels = [label for label, _, _ in entries]
        legend = axes.legend([shown[label] for label in labels], labels)
        for text in legend.get_texts():
            text.set_parse_math(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DOTS)
    return out.getvalue()


def _lines(axes: Any, plot: Plot) -> None:
    for line in plot.lines:
        heights = [y if math.isfinite(y) else math.nan for y in line.y]
        how = {"color": "grey", "linestyle": "--"} if line.faint else {"color": _colour(line.hue)}
        axes.plot(line.x, heights, label=line.label, linewidth=1, **how)
    if plot.log:
        axes.set_xscale("log")
    if plot.falling:
        axes.invert_xaxis()
    if plot.bounds:
        axes.set_ylim(plot.bounds[0], plot.bounds[1] * 1.02)


def _bars(axes: Any, plot: Plot) -> None:
    height = 0.8 / len(plot.lines)
    for number, line in enumerate(plot.lines):
        places = [index + number * height for index in range(len(plot.names))]
        axes.barh(places, line.y, height, label=line.label, color=_colour(line.hue))
    axes.set_yticks([index + height / 2 for index in range(len(plot.names))], plot.names)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.invert_yaxis()


def _colour(hue: int) -> tuple[float, float, float]:
    """As the page has it: ``hsl(hue 65% 52%)``."""
    return colorsys.hls_to_rgb(hue / 360, 0.52, 0.65)
