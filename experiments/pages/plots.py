"""The plots of a run: of its chains, search, moves or populations, each with what it should look like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.laws.cooling import temperatures
from experiments.pages.draws import Chain, Draws
from experiments.pages.plot import ABOVE, BELOW, Line, Plot, hues

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["plots_of"]

CHAINS, POINTS = 20, 300  # at most, for people to see and browsers to draw
NAMED = 8  # chains that a legend can tell apart
BINS, FEWEST = 10, 20  # of a rank plot; draws of a chain without which it shows nothing
LAGS = 100
START_HUES = {"below": BELOW, "above": ABOVE}
Curve = tuple[Sequence[int], "Tensor"]


def plots_of(draws: Draws, summary: Mapping[str, Any], history: Curve | None, steps: int) -> list[Plot]:
    """``summary`` of the run. ``history`` of a search: steps, of ``steps``, and ``float64 [chains, steps]`` in nats."""
    found: list[Plot] = []
    if "objective" in summary:
        found += _search(*history, steps) if history else []
    elif chains := [chain for chain in draws.chains if any(map(math.isfinite, chain.energies))]:
        found += [_energies(chains), *_means(chains), *_ranks(chains), *_autocorrelation(chains)]
    return [*found, *_moves(summary), *_populations(summary)]


def _energies(chains: Sequence[Chain]) -> Plot:
    shown = chains[:CHAINS]
    every = math.ceil(max(len(chain.steps) for chain in shown) / POINTS)
    which = f" {CHAINS} of the {len(chains):,} chains." if len(chains) > CHAINS else ""
    thinned = f" One kept draw in {every:,}." if every > 1 else ""
    lines = [
        Line(label, chain.steps[::every], chain.energies[::every], hue)
        for chain, (label, hue) in zip(shown, _labels(shown), strict=True)
    ]
    caption = f"Chains that have forgotten their starts cover the same heights, without a trend.{which}{thinned}"
    return Plot("energy", "Energy along the chains", "step", "nats", lines, caption)


def _labels(chains: Sequence[Chain]) -> list[tuple[str, int]]:
    """Label and hue of each chain: by where it started, where that is known."""
    if all(chain.start in START_HUES for chain in chains):
        return [(f"from {chain.start}", START_HUES[chain.start]) for chain in chains]
    named = len(chains) <= NAMED
    return [
        (f"chain {chain.number}" if named else "", hue) for chain, hue in zip(chains, hues(len(chains)), strict=True)
    ]


def _means(chains: Sequence[Chain]) -> Iterator[Plot]:
    """Of all draws up to a step, for each of the two kinds of start."""
    import numpy as np

    lines = []
    for start, hue in START_HUES.items():
        group = [chain for chain in chains if chain.start == start]
        kept = min((len(chain.steps) for chain in group), default=0)
        if kept > 1:
            table, unit = _in_units(np.array([chain.energies[:kept] for chain in group]))
            means = table.mean(axis=0).cumsum() / np.arange(1, kept + 1) * unit
            every = math.ceil(kept / POINTS)
            lines.append(Line(f"from {start}", group[0].steps[:kept:every], means[::every].tolist(), hue))
    if len(lines) == 2:
        caption = "Mean energy of the draws so far. Chains from below began at likely texts, chains from above at "
        caption += "unlikely ones: the two lines should meet."
        yield Plot("means", "Means from below and above", "step", "nats", lines, caption)


def _table(chains: Sequence[Chain]) -> Numbers | None:
    """``[chains, kept]`` of the draws that all have, up to a factor; ``None`` for too few, or infinite ones."""
    import numpy as np

    kept = min(len(chain.steps) for chain in chains)
    table = np.array([chain.energies[:kept] for chain in chains], dtype=np.float64)
    if kept < FEWEST or not np.isfinite(table).all():
        return None
    table, _ = _in_units(table)
    return table if np.ptp(table) > 0 else None


def _in_units(table: Numbers) -> tuple[Numbers, float]:
    """In a unit in which no sum overflows, and that unit."""
    import numpy as np

    finite = table[np.isfinite(table)]
    unit = max(1.0, float(np.abs(finite).max())) if finite.size else 1.0
    return table / unit, unit


def _ranks(chains: Sequence[Chain]) -> Iterator[Plot]:
    """Vehtari et al. 2021, section 4: histograms of the ranks of each chain's draws among those of all."""
    import numpy as np

    table = _table(chains)
    if table is None or len(chains) < 2:
        return
    _, places, counts = np.unique(table, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places].reshape(table.shape) / table.size
    shown, edges = chains[:CHAINS], np.linspace(0, 1, BINS + 1)
    lines = []
    for row, (label, hue) in zip(ranks, _labels(shown), strict=False):
        share = np.histogram(row, edges)[0] / len(row) * BINS
        lines.append(Line(label, np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share, 2).tolist(), hue))
    even = Line("even", [0.0, 1.0], [1.0, 1.0], 0, faint=True)
    caption = "How often a chain's energies have each rank among those of all chains, from low to high. Chains that "
    caption += "agree are near the line at 1; a slope says that a chain stays at its own heights."
    top = max([2.0, *(max(line.y) for line in lines)])
    yield Plot(
        "ranks", "Ranks", "rank among all draws (share)", "times as often", [even, *lines], caption, bounds=(0.0, top)
    )


def _autocorrelation(chains: Sequence[Chain]) -> Iterator[Plot]:
    """The mean over chains, as arviz-stats has it."""
    from arviz_stats.base.array import array_stats

    table = _table(chains)
    if table is None:
        return
    moving = table[table.max(axis=1) > table.min(axis=1)]
    lags = min(LAGS, moving.shape[1] // 2)
    mean = array_stats.autocorr(moving, axis=-1)[:, : lags + 1].mean(axis=0)
    thin = chains[0].steps[1] - chains[0].steps[0]
    line = Line("", [lag * thin for lag in range(lags + 1)], mean.tolist(), BELOW)
    zero = Line("", [0.0, float(lags * thin)], [0.0, 0.0], 0, faint=True)
    caption = (
        "How far the energy still resembles what it was so many steps before, mean over the chains: the sooner it "
    )
    caption += "is near 0, the more a draw is worth."
    low = min(-0.1, float(mean.min()))
    yield Plot("autocorrelation", "Autocorrelation", "steps apart", "", [zero, line], caption, bounds=(low, 1.0))


def _search(steps: Sequence[int], energy: Tensor, of: int) -> Iterator[Plot]:
    import numpy as np

    by_step, (table, unit) = temperatures(of), _in_units(energy.numpy())
    if table.shape[1] < 2:
        return
    every = math.ceil(len(steps) / POINTS)
    falls = [by_step[step] for step in steps]
    lowest, mean = unit * np.minimum.accumulate(table.min(axis=0)), unit * table.mean(axis=0)
    lines = [
        Line("mean of the chains", falls[::every], mean[::every].tolist(), ABOVE),
        Line("lowest so far", falls[::every], lowest[::every].tolist(), BELOW),
    ]
    caption = "From hot to cold. A mean that still falls at the end asks for more steps; chains that end far above the "
    caption += "lowest one were caught on the way."
    yield Plot("search", "The search", "temperature", "nats", lines, caption, log=True, falling=True)


def _moves(summary: Mapping[str, Any]) -> Iterator[Plot]:
    moves = summary.get("moves")
    if not isinstance(moves, Mapping):
        return
    tried = {str(name): count for name, count in moves.items() if _count(count, "tried")}
    if tried:
        lines = [
            Line(label, [], [count[key] / count["tried"] for count in tried.values()], hue)
            for label, key, hue in (("accepted", "accepted", BELOW), ("changed the text", "changed", ABOVE))
        ]
        top = max(value for line in lines for value in line.y)
        caption = "Of the times that each move was tried, how often it was accepted, and how often the text changed."
        yield Plot("moves", "Moves", "", "", lines, caption, names=list(tried), bounds=(0.0, top))


def _count(count: Any, name: str) -> bool:
    parts = ("tried", "accepted", "changed")
    return isinstance(count, Mapping) and all(type(count.get(part)) is int for part in parts) and count[name] > 0


def _populations(summary: Mapping[str, Any]) -> Iterator[Plot]:
    path, ess = summary.get("temperatures"), summary.get("ess_by_temperature")
    if not (isinstance(path, list | tuple) and isinstance(ess, list | tuple) and path and len(path) == len(ess)):
        return
    lines = [
        Line(f"population {index}" if len(path) <= NAMED else "", list(places), list(values), hue)
        for index, (places, values, hue) in enumerate(zip(path, ess, hues(len(path)), strict=True))
        if len(places) == len(values) > 0
    ]
    if lines:
        caption = "Effective particles of each population on the way from the distribution (0) to the law (1)."
        yield Plot("ess", "Effective particles", "on the way", "particles", lines, caption)
