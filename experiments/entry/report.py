"""``mcmc-text report DIR``: what a run has drawn so far, as texts, figures and a page, whether or not it goes on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from experiments.declaration.options import output_options
from experiments.declaration.wording import argument
from experiments.entry.open_run import opened
from experiments.pages.draws import Draws
from experiments.pages.page import page, run_plots
from experiments.pages.plot_files import check_can_draw, write_plots
from experiments.results.protocol import Run
from experiments.results.tables import check_can_write, write_table
from experiments.results.terminal import show
from experiments.runs.run_directory import write_run

__all__ = ["FORMATS", "command", "report"]

FORMATS = {"png": "plots/NAME.png", "csv": "plots/NAME.csv", "parquet": "samples.parquet", "netcdf": "trace.nc"}


def report(path: str | Path, *, model: str | None = None, formats: Collection[str] = ()) -> Run:
    """Write samples, summary and page of the run in the folder ``path``, also of one that was stopped or killed.

    The draws are decoded with the tokenizer of the run's model, or of ``model`` if that is elsewhere now; no weights
    are loaded and no code is run. For an unfinished run the files say so, and ``summary.json`` has ``complete`` false;
    for a finished one, and for one that another process is at, only the page is written.

    ``formats``: what else to write of ``png`` (the plots, with the extra ``plots``), ``csv`` (their numbers),
    ``parquet`` (the samples) and ``netcdf`` (``trace.nc``, for ArviZ; both with the extra ``data``).

    Raises ``InvalidInput`` for a folder without a run or without a draw, a tokenizer that cannot be found or is another
    one, and an extra that is missing; ``StoreError`` for damaged files.
    """
    from samplers import InvalidInput
    from samplers.storage import write_atomically

    if unknown := sorted(set(formats) - set(FORMATS)):
        raise InvalidInput(f"{argument('formats')} has {unknown[0]!r}; choose among {', '.join(FORMATS)}")
    if "png" in formats:
        check_can_draw()
    check_can_write(formats)
    with opened(path, model) as found:
        run, summary, folder = found.run, found.summary, found.store.path
        written = page(run, summary, found.repeat)
        if found.is_finished or found.is_running:
            write_atomically(folder / "report.html", written.encode())
        else:
            write_run(folder, run, summary, written)
            found.store.log("reported", progress=summary.get("progress", "finished"))
        if {"png", "csv"} & set(formats):
            write_plots(folder / "plots", run_plots(run, summary, Draws.of(run.samples())), formats)
        write_table(folder, run, formats)
    return run


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--model", metavar="NAME", help="Whose tokenizer it was, if it is not where the run had it.")
@click.option(
    "--also",
    "formats",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="Write this, too: the plots as png, their numbers as csv, the samples as parquet, the trace for ArviZ as "
    "netcdf. May be repeated.",
)
def command(folder: str, model: str | None, formats: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write samples, summary and page of the run in DIR: all that it has drawn so far, running, stopped or done."""
    show(report(folder, model=model, formats=formats), as_json=as_json, quiet=quiet)


command.params += output_options()
