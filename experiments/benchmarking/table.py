"""Lines of a benchmark as tables for the terminal and for Markdown, and as JSON."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from experiments.benchmarking.measure import Line
from experiments.results.figures import number

__all__ = ["COSTS", "LEGEND", "SPEED", "Table", "as_json", "growth", "growth_in_words", "machine"]

Cells = Sequence[str]
LEGEND = """\
steps/s: steps of all chains. floor/s: the same for the bare passes that these steps need, cut as is
fastest. inside: share of a step spent in forward passes. hand/s: the loop people write by hand, one
chain (draws, pairs: as many together as chains). ESS/M: effective draws a million tokens.
passes: of one step of all chains; rows, tokens: of one chain. cut at: most tokens of a pass, w(hole
rows) or s(uffixes of kept texts). MB: peak, models included. Medians, by hand means, timed in turn."""


class Table:
    """Columns of a ``Line``: ``cells(line)`` fills those that are ``named`` (name, format), after what the line is of.

    ``varied`` is what differs between the lines of a workload: ``chains``, ``length``, ``k`` or ``vocabulary``.
    """

    def __init__(self, named: Sequence[tuple[str, str]], cells: Callable[[Line], Cells]) -> None:
        self.named, self.cells = named, cells

    def head(self, varied: str) -> str:
        return self._row([name for name, _ in self._columns(varied)], varied)

    def row(self, line: Line, varied: str) -> str:
        return self._row([*_labels(line, varied), *self.cells(line)], varied)

    def markdown(self, lines: Iterable[Line], varied: str) -> Iterator[str]:
        columns = self._columns(varied)
        yield _piped([name for name, _ in columns])
        yield _piped(["---" if spec.startswith("<") else "--:" for _, spec in columns])
        for line in lines:
            yield _piped([*_labels(line, varied), *self.cells(line)])

    def _columns(self, varied: str) -> list[tuple[str, str]]:
        return [("workload", "<9"), ("models", "<8"), (varied[:6], ">6"), *self.named]

    def _row(self, cells: Cells, varied: str) -> str:
        columns = self._columns(varied)
        return "  ".join(format(cell, spec) for cell, (_, spec) in zip(cells, columns, strict=True)).rstrip()


def _speed(line: Line) -> Cells:
    rates = (line.chain_steps_per_second, line.floor_per_second, 1 / line.by_hand)
    steps, floor, by_hand = (f"{rate:,.{0 if rate >= 100 else 1 if rate >= 10 else 2}f}" for rate in rates)
    found = (line.ess_per_second, line.ess_per_million_tokens)
    ess = [number(math.nan if each is None else each, ".1f" if each is None or each < 1e4 else ".0f") for each in found]
    return steps, floor, f"{line.ratio:.2f}", f"{line.in_models:.0%}", by_hand, f"{line.speed_up:,.1f}", *ess


def _costs(line: Line) -> Cells:
    chains = line.size.chains
    return (
        f"{line.cost['forwards']:,.1f}",
        *(f"{line.cost[name] / chains:,.1f}" for name in ("rows", "tokens")),
        *(f"{line.floor_cost[name] / chains:,.1f}" for name in ("rows", "tokens")),
        ", ".join(_short(choice) for choice in line.splits.values()),
        "-" if line.peak is None else f"{line.peak / 2**20:,.0f}",
    )


SPEED = Table(
    (("steps/s", ">9"), ("floor/s", ">9"), ("ratio", ">5"), ("inside", ">6"), ("hand/s", ">7"), ("speed-up", ">8"),
     ("ESS/s", ">6"), ("ESS/M", ">6")),
    _speed,
)  # fmt: skip
COSTS = Table(
    (("passes", ">6"), ("rows", ">6"), ("tokens", ">7"), ("floor rows", ">10"), ("tokens", ">7"), ("cut at", "<13"),
     ("MB", ">6")),
    _costs,
)  # fmt: skip


def as_json(line: Line) -> dict[str, Any]:
    """All that was measured, times in seconds, costs of a step of all chains."""
    derived = ("chain_steps_per_second", "floor_per_second", "speed_up")
    return {**asdict(line), **{name: getattr(line, name) for name in derived}}


def growth(lines: Iterable[Line], varied: str) -> Iterator[dict[str, Any]]:
    """For each workload and models with three lines or more: how time and memory grow with ``varied``.

    ``exponent``: the step's time grows like that power; ``bytes``: memory that each more takes, ``bytes_at_none`` what
    would be left without any, by least squares.
    """
    for (workload, models), group in groupby(lines, key=lambda line: (line.workload, line.models)):
        found = list(group)
        values = [_varied(line, varied) for line in found]
        if len(set(values)) < 3:
            continue
        power = statistics.linear_regression([math.log(v) for v in values], [math.log(line.step) for line in found])
        fitted = {"workload": workload, "models": models, "varied": varied, "exponent": power.slope}
        if all(line.peak is not None for line in found):
            memory = statistics.linear_regression(values, [line.peak for line in found if line.peak is not None])
            fitted |= {"bytes": memory.slope, "bytes_at_none": memory.intercept}
        yield fitted


def growth_in_words(fitted: Mapping[str, Any]) -> str:
    varied = fitted["varied"]
    words = f"{fitted['workload']}, {fitted['models']}: time of a step like {varied}^{fitted['exponent']:.2f}"
    if "bytes" in fitted:
        words += f", memory {fitted['bytes_at_none'] / 2**20:,.0f} MB and {fitted['bytes'] / 2**10:,.1f} KB for each"
    return words


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on apart from the code."""
    import torch

    cuda = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "device": cuda or _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """As the system names it; Python alone knows the family at most."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _labels(line: Line, varied: str) -> list[str]:
    return [line.workload, line.models, str(_varied(line, varied))]


def _varied(line: Line, varied: str) -> int:
    return line.vocabulary if varied == "vocabulary" else getattr(line.size, varied)


def _short(choice: str) -> str:
    plan, tokens = choice.split()
    return f"{plan[0]}{tokens}" if int(tokens) < 1024 else f"{plan[0]}{int(tokens) // 1024}k"


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
