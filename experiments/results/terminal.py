"""What a run prints: texts, facts, files, and the one line that says whether to trust it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import click

from experiments.results.cost import Spent
from experiments.results.safe_text import visible
from experiments.runs.run_directory import json_line

__all__ = ["Run", "distinct", "number", "print_run", "self_bleu", "shares", "show"]

SELF_BLEU_TEXTS = 200  # self-BLEU compares all pairs; more texts than this would take longer than the sampling


class Run(Protocol):
    """The result of an experiment. ``summary()`` has at least ``trust``, one honest line, and ``out`` its folder."""

    config: Mapping[str, Any]
    spent: Spent

    def samples(self) -> Iterator[dict[str, Any]]:
        """One object a kept draw, as ``samples.jsonl`` has them."""

    def summary(self) -> dict[str, Any]:
        """The figures, as ``summary.json`` has them."""

    def shown(self) -> Iterator[tuple[int, float, str]]:
        """Number, energy in nats and text of the draws that are printed."""

    def heading(self) -> tuple[str, str]:
        """What the number counts, and what the texts are."""

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Label and value of each line under the texts."""


def show(run: Run, *, as_json: bool, quiet: bool) -> None:
    """Print a run as the command line asks for it."""
    if as_json:
        for line in run.samples():
            click.echo(json_line(line))
    elif not quiet:
        print_run(run)


def print_run(run: Run) -> None:
    """The texts, the facts and where the files are, no wider than the terminal."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    summary = run.summary()
    counted, shown = run.heading()
    click.echo(f"{counted:>5}  {'nats':>7}  {shown}")
    for index, energy, text in run.shown():
        click.echo(f"{index:>5}  {energy:>7.2f}  {_cut(text, width - 16)}")
    click.echo()
    for label, value in run.facts(summary):
        click.echo(f"  {visible(label):<22} {_folded(value, width - 25)}")
    if run.config["trust_remote_code"]:
        click.echo(f"  {'code':<22} what the models bring along was run (--trust-remote-code)")
    if run.config["out"]:
        click.echo(
            f"  {'files':<22} {visible(str(run.config['out']))}/ (samples.jsonl, summary, config, env, report.html)"
        )
    click.echo(f"\n{summary['trust']}")
    if run.spent.news:
        click.echo(run.spent.news)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 (0 to 100) of each text against all others: low is diverse. NaN for fewer than two texts."""
    from sacrebleu.metrics import BLEU

    texts = list(texts[:SELF_BLEU_TEXTS])
    if len(texts) < 2:
        return math.nan
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    return sum(scores) / len(scores)


def distinct(summary: Mapping[str, Any], draws: int) -> str:
    return f"{summary['distinct']:,} of {draws:,}"


def shares(terms: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The line of an energy's terms, where more than one has a part in it."""
    parts = [f"{name} {value:.2f}" for name, value in terms.items() if value != 0]
    if len(parts) > 1:
        yield "of it", ", ".join(parts)


def number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


def _cut(text: str, width: int) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _folded(text: str, width: int) -> str:
    """At word borders, later lines under the first."""
    import textwrap

    return ("\n" + " " * 25).join(textwrap.wrap(visible(" ".join(text.split())), width, break_on_hyphens=False) or [""])
