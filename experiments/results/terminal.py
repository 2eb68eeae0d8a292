"""What a run prints: texts, facts, files, and the one line that says how far to rely on it."""

from __future__ import annotations

import click

from experiments.declaration.wording import argument
from experiments.results.columns import cut, fold, terminal_width
from experiments.results.figures import nats
from experiments.results.protocol import Run
from experiments.results.safe_text import json_line, visible

__all__ = ["print_run", "printable", "show"]

LAWS = ("target", "made small")  # cut to two lines: a list of words may be long, and the report has all of it


def show(run: Run, *, as_json: bool, quiet: bool) -> None:
    """Print a run as the command line asks for it."""
    if as_json:
        for line in run.samples():
            click.echo(json_line(line))
    elif not quiet:
        print_run(run)


def print_run(run: Run) -> None:
    """The texts, the facts and where the files are: no wider than the terminal, and whole where there is none."""
    width = terminal_width()
    summary = run.summary()
    counted, shown = run.heading()
    click.echo(cut(f"{counted:>5}  {'nats':>7}  {shown}", width))
    for index, energy, text in run.shown():
        click.echo(f"{index:>5}  {nats(energy):>7}  {cut(printable(text), width and width - 16)}")
    click.echo()
    for label, value in run.facts(summary):
        first, *more = fold(printable(value), width and width - 25, 2 if label in LAWS else None)
        click.echo(("\n" + " " * 25).join([f"  {visible(label):<22} {first}", *more]))
    if run.config["trust_remote_code"]:
        click.echo(f"  {'code':<22} what the models bring along was run ({argument('trust_remote_code')})")
    if run.config["out"]:
        click.echo(
            f"  {'files':<22} {visible(str(run.config['out']))}/ (samples.jsonl, summary, config, env, report.html)"
        )
    click.echo(f"\n{summary['trust']}")
    if run.spent.news:
        click.echo(run.spent.news)


def printable(text: str) -> str:
    """On one line, with nothing in it that acts on a terminal."""
    return visible(" ".join(text.split()))
