"""What a run prints: texts, facts, files, and the one line that says whether to trust it."""

from __future__ import annotations

import shutil

import click

from experiments.declaration.wording import argument
from experiments.results.protocol import Run
from experiments.results.safe_text import json_line, visible

__all__ = ["print_run", "show"]


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
        click.echo(f"  {'code':<22} what the models bring along was run ({argument('trust_remote_code')})")
    if run.config["out"]:
        click.echo(
            f"  {'files':<22} {visible(str(run.config['out']))}/ (samples.jsonl, summary, config, env, report.html)"
        )
    click.echo(f"\n{summary['trust']}")
    if run.spent.news:
        click.echo(run.spent.news)


def _cut(text: str, width: int) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _folded(text: str, width: int) -> str:
    """At word borders, later lines under the first."""
    import textwrap

    return ("\n" + " " * 25).join(textwrap.wrap(visible(" ".join(text.split())), width, break_on_hyphens=False) or [""])
