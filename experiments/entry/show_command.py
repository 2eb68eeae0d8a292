"""``mcmc-text show DIR``: the texts of a run for pipes, one a line, or its samples as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from experiments.declaration.user_code import debug_option
from experiments.entry.open_run import opened
from experiments.results.safe_text import json_line
from experiments.results.terminal import printable

__all__ = ["command", "samples_of"]


def samples_of(
    path: str | Path, *, best: int | None = None, distinct: bool = False, model: str | None = None
) -> list[dict[str, Any]]:
    """The kept draws of the run in ``path``, in the order of ``samples.jsonl``, without writing anything.

    ``best``: so many, the lowest energies first. ``distinct``: each text once, the first of its draws. Errors as of
    ``opened``.
    """
    with opened(path, model) as found:
        samples = list(_each_once(found.run.samples()) if distinct else found.run.samples())
    if best is None:
        return samples
    unknown = [sample for sample in samples if sample["energy"] != sample["energy"]]
    known = sorted((each for each in samples if each["energy"] == each["energy"]), key=lambda each: each["energy"])
    return [*known, *unknown][:best]


def _each_once(samples: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for sample in samples:
        if sample["text"] not in seen:
            seen.add(sample["text"])
            yield sample


@click.command("show")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--best", type=click.IntRange(1), metavar="N", help="The N samples of the lowest energy, lowest first.")
@click.option("--distinct", is_flag=True, help="Each text once.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, as in samples.jsonl, instead of texts.")
@click.option("--model", metavar="NAME", help="Whose tokenizer it was, if it is not where the run had it.")
def command(folder: str, best: int | None, distinct: bool, as_json: bool, model: str | None) -> None:
    """Print the texts of the run in DIR, one a line, for other programs to read: running, stopped or done.

    Nothing is written. Line breaks within a text are spaces; --json has texts as they are.
    """
    for sample in samples_of(folder, best=best, distinct=distinct, model=model):
        click.echo(json_line(sample) if as_json else printable(sample["text"]))


command.params.append(debug_option())
