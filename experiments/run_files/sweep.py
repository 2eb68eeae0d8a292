"""A sweep: a run for every combination of the values that a run file lists, each in a folder of its own."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from experiments.declaration.keys import key_of
from experiments.declaration.wording import argument
from experiments.entry.experiment import Experiment
from experiments.entry.saved_run import load_run
from experiments.results.figures import number
from experiments.results.safe_text import json_line, plain, visible
from experiments.run_files.plan import EXPERIMENT, Plan
from experiments.runs.repeat_file import RUN_FILE, write_run_file, yaml_text

__all__ = ["Row", "run_sweep"]

MARK = "# A sweep: mcmc-text run FILE --out DIR goes on with it, and makes no run again that is done.\n"
TABLE = "table.csv"
FIGURES = {"nats": ("energy_mean", ".2f"), "ESS": ("ess_bulk", ".1f"), "R-hat": ("r_hat", ".2f"),
           "seconds": ("seconds", ".1f")}  # fmt: skip
LONGEST = 60  # characters of a value in the name of a folder


@dataclass
class Row:
    """A run of the sweep: its folder, the values that it alone has, and what became of it."""

    folder: Path
    values: Mapping[str, str]
    summary: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def cells(self) -> dict[str, str]:
        figures = {
            name: number(float(self.summary.get(key) or math.nan), spec) for name, (key, spec) in FIGURES.items()
        }
        return {**self.values, **figures}


def run_sweep(
    plan: Plan, declared: Experiment, options: Mapping[str, Any], rest: Sequence[str], *, as_json: bool, quiet: bool
) -> bool:
    """Do every run that is not done yet, and print a table of all; returns whether all of them succeeded.

    All are checked before the first begins. ``options`` are those given that the runs share; ``rest`` what followed the
    file on the command line. A run that fails has its place in the table, and the others are done all the same.

    Raises ``InvalidInput`` for bad input, of whichever run, and for a folder that holds anything else; ``Interrupted``.
    """
    from samplers import Interrupted, InvalidInput, McmcTextError

    folder = Path(options["out"])
    points = [dict(options) | point for point in plan.points()]
    rows = [_row(plan, folder, point) for point in points]
    for point, row in zip(points, rows, strict=True):
        point["out"] = str(row.folder)
        with plan.places_in_errors(point):
            config = declared.prepare({**point, "progress": False}).config
        if _is_done(row.folder, plain(config), declared):
            row.summary = load_run(row.folder).summary()
    _begin(folder, plan, declared, options)
    for place, (point, row) in enumerate(zip(points, rows, strict=True), 1):
        if not row.summary:
            if not quiet:
                click.echo(f"run {place} of {len(rows)}: {visible(row.folder.name)}", err=True)
            try:
                with plan.places_in_errors(point):
                    row.summary = declared.run_options(point, progress=not quiet).summary()
            except Interrupted as stop:
                again = list(rest) if any(word.partition("=")[0] == "--out" for word in rest) else [
                    *rest, "--out", str(folder)]  # fmt: skip
                stop.how_to_resume = f"go on with: {shlex.join(['mcmc-text', 'run', str(plan.document.path), *again])}"
                raise
            except InvalidInput:
                raise
            except McmcTextError as error:
                row.problem = " ".join(str(error).split())
    _write_table(folder, rows)
    _show(folder, rows, as_json=as_json, quiet=quiet)
    return not any(row.problem for row in rows)


def _row(plan: Plan, folder: Path, point: Mapping[str, Any]) -> Row:
    values = {each.key: _shown(point[each.name]) for each in plan.swept}
    return Row(folder / ",".join(f"{key}={_for_a_name(value)}" for key, value in values.items()), values)


def _shown(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and len(value) == 2:
        return f"{value[0]}:{value[1]}"
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _for_a_name(value: str) -> str:
    """What is no part of a folder's name becomes a line below, and a digest keeps such values apart."""
    name = re.sub(r"[^\w.+-]+", "_", value)[:LONGEST]
    return name if name == value else f"{name}-{hashlib.sha256(value.encode()).hexdigest()[:6]}"


def _is_done(folder: Path, config: Mapping[str, Any], declared: Experiment) -> bool:
    """Whether the folder holds this run, come to its end."""
    from samplers import McmcTextError, RunStore
    from samplers.storage import exists

    if not all(exists(folder / name) for name in ("config.json", "summary.json", "samples.jsonl")):
        return False
    free = {each.name for each in declared.arguments if each.option and each.option.on_resume == "free"}
    try:
        stored, complete = RunStore(folder).read("config.json"), load_run(folder).is_complete
    except McmcTextError:  # which the run itself reports
        return False
    same = {name: value for name, value in config.items() if name not in free}
    return complete and {name: value for name, value in stored.items() if name not in free} == same


def _begin(folder: Path, plan: Plan, declared: Experiment, options: Mapping[str, Any]) -> None:
    """Make the folder of the sweep, with the file that repeats it. Raises ``InvalidInput`` where anything else is."""
    from samplers import InvalidInput

    path = folder / RUN_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_other = any(folder.iterdir()) and not (path.is_file() and path.read_text("utf-8").startswith(MARK))
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{argument('out')} {str(folder)!r} cannot be used ({problem}); choose another") from error
    if is_other:
        raise InvalidInput(f"{argument('out')} {str(folder)!r} holds files that are not of a sweep; choose another")
    keys = {each.name: key_of(each) for each in declared.arguments}
    is_file = declared.location is not None and declared.location.endswith(".py")
    written: dict[str, Any] = {EXPERIMENT: declared.location if is_file else declared.name}
    swept = {each.name: [_written(value) for value in each.values] for each in plan.swept}
    given = {name: _written(value) for name, value in options.items() if name in keys and name != "out"}
    written |= {keys[name]: value for name, value in (given | swept).items() if value is not None}
    write_run_file(folder, MARK + yaml_text(written))


def _written(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == 2 and all(type(each) is int for each in value):
        return f"{value[0]}:{value[1]}"
    return list(value) if isinstance(value, list | tuple) else value


def _write_table(folder: Path, rows: Iterable[Row]) -> None:
    from samplers.storage import write_atomically

    text = io.StringIO()
    for place, row in enumerate(rows):
        figures = {name: row.summary.get(name, "") for name, _ in FIGURES.values()}
        cells = {**row.values, **figures, "problem": visible(row.problem), "folder": row.folder.name}
        if place == 0:
            csv.writer(text).writerow(cells)
        csv.writer(text).writerow(cells.values())
    write_atomically(folder / TABLE, text.getvalue().encode(errors="backslashreplace"))


def _show(folder: Path, rows: Sequence[Row], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        for row in rows:
            problem = {"problem": row.problem} if row.problem else {}
            click.echo(json_line({"folder": str(row.folder), **row.values, **row.summary, **problem}))
        return
    if not quiet:
        cells = [row.cells() for row in rows]
        names = list(cells[0])
        widths = [max(len(visible(text)) for text in (name, *(row[name] for row in cells))) for name in names]
        for line in [dict(zip(names, names, strict=True)), *cells]:
            click.echo("  ".join(visible(line[name]).rjust(width) for name, width in zip(names, widths, strict=True)))
        click.echo(f"\nfiles: {visible(str(folder))}/ ({TABLE}, {RUN_FILE}, a folder for each run)")
    for row in rows:
        if row.problem:
            click.echo(f"failed: {visible(row.folder.name)}: {visible(row.problem)}", err=True)
