"""Runs side by side: what was asked of each, what came of it, its best texts, and its energies on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from experiments.pages.drawing import drawing
from experiments.pages.draws import Draws
from experiments.pages.page import line, policy, read_part, run_plots, template
from experiments.pages.plot import Line, Plot, hues
from experiments.results.figures import RATE, nats, number
from experiments.results.protocol import Run

__all__ = ["Comparison", "Side", "compare_runs", "comparison_page"]

BEST = 3  # texts of each run
POINTS = 300  # of a line
FIGURES = (
    ("energy", "energy_mean", ".2f"), ("its error", "energy_mcse", ".2f"), ("nats a token", "energy_per_token", ".2f"),
    ("log Z", "log_z", ".2f"), ("tokens a text", "length_mean", ".1f"), ("R-hat", "r_hat", ".3f"),
    ("ESS", "ess_bulk", ",.0f"), ("ESS a second", "ess_per_second", RATE),
    ("ESS a million tokens", "ess_per_million_tokens", RATE), ("accepted", "acceptance", ".0%"),
    ("changed", "changed", ".0%"), ("distinct texts", "distinct", ",.0f"), ("self-BLEU", "self_bleu", ".1f"),
    ("Pareto k", "pareto_k", ".2f"), ("seconds", "seconds", ",.1f"),
)  # fmt: skip
NOT_SETTINGS = ("out", "energy_sha256")


class Side(NamedTuple):
    """One of the runs, by the ``name`` that tells it from the others."""

    name: str
    run: Run
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Rows are a label and a cell for each run; ``best`` are energies and texts, the lowest energies first.

    ``remark`` says whether the energies can be compared at all.
    """

    names: list[str]
    settings: list[tuple[str, list[str]]]
    figures: list[tuple[str, list[str]]]
    trusts: list[str]
    best: list[list[tuple[str, str]]]
    plots: list[Plot]
    remark: str


def compare_runs(sides: Sequence[Side]) -> Comparison:
    """All cells are safe to show, each on a line of its own."""
    draws = [Draws.of(side.run.samples()) for side in sides]
    laws = {str(side.summary.get("target", side.summary.get("objective", ""))) for side in sides}
    remark = "The runs have the same law." if len(laws) == 1 else "The laws differ, so energies are not of one scale."
    names = [line(side.name) for side in sides]
    means = [_mean(name, each, hue) for name, each, hue in zip(names, draws, hues(len(sides)), strict=True)]
    caption = "Mean over the chains of each run."
    return Comparison(
        names,
        list(_settings(sides)),
        list(_figures(sides)),
        [line(str(side.summary["trust"])) for side in sides],
        [_best(each) for each in draws],
        [
            *([Plot("means", "Energy", "step", "nats", found, caption)] if (found := [m for m in means if m]) else []),
            *_traces(sides, draws),
        ],
        remark,
    )


def comparison_page(compared: Comparison) -> str:
    """The same as one page, whole without scripts, of which it has none."""
    return template("comparison.html").render(
        policy=policy("page.css"),
        style=read_part("page.css"),
        compared=compared,
        sides=list(zip(compared.names, compared.trusts, compared.best, strict=True)),
        drawings=[drawn for plot in compared.plots if (drawn := drawing(plot))],
    )


def _settings(sides: Sequence[Side]) -> Iterator[tuple[str, list[str]]]:
    for name in dict.fromkeys(name for side in sides for name in side.run.config):
        values = [side.run.config.get(name) for side in sides]
        if name not in NOT_SETTINGS and any(value != values[0] for value in values):
            yield line(str(name)), ["-" if value is None else line(str(value)) for value in values]


def _figures(sides: Sequence[Side]) -> Iterator[tuple[str, list[str]]]:
    for label, name, spec in FIGURES:
        values = [side.summary.get(name, math.nan) for side in sides]
        cells = [number(float(value), spec) if isinstance(value, int | float) else "-" for value in values]
        if any(cell != "-" for cell in cells):
            yield label, cells


def _best(draws: Draws) -> list[tuple[str, str]]:
    known = sorted((text for text in draws.texts if not math.isnan(text.energy)), key=lambda text: text.energy)
    return [(nats(text.energy), line(text.text)) for text in known[:BEST]]


def _mean(name: str, draws: Draws, hue: int) -> Line | None:
    """Over the chains, at the steps that all have; infinite energies are left out."""
    kept = min((len(chain.steps) for chain in draws.chains), default=0)
    if kept < 2:
        return None
    every = math.ceil(kept / POINTS)
    heights = []
    for index in range(0, kept, every):
        finite = [e for chain in draws.chains if math.isfinite(e := chain.energies[index])]
        heights.append(math.fsum(e / len(finite) for e in finite) if finite else math.nan)
    return Line(name, draws.chains[0].steps[:kept:every], heights, hue)


def _traces(sides: Sequence[Side], draws: Sequence[Draws]) -> Iterator[Plot]:
    """The energies of each run, under its name."""
    for number_, (side, each) in enumerate(zip(sides, draws, strict=True)):
        for plot in run_plots(side.run, side.summary, each):
            if plot.name in ("energy", "search"):
                name, title = f"{plot.name}-{number_}", f"{line(side.name)}: {plot.title}"
                yield Plot(
                    name, title, plot.across, plot.up, plot.lines, plot.caption, log=plot.log, falling=plot.falling
                )
