"""``mcmc-text diff DIR DIR ...``: runs side by side, in the terminal or as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from experiments.declaration.user_code import debug_option
from experiments.entry.open_run import opened
from experiments.pages.comparison import Comparison, Side, compare_runs, comparison_page
from experiments.results.columns import columns, cut, fold, terminal_width

__all__ = ["command", "diff"]

LABEL, NARROWEST, GAP = 20, 14, 2  # columns of the labels, of a run at least, and between them


def diff(paths: Sequence[str | Path], *, model: str | None = None) -> Comparison:
    """What tells the runs in these folders apart, running, stopped or done. Writes nothing.

    ``model``: as for ``report``. Raises ``InvalidInput`` for fewer than two folders, and as ``report`` does.
    """
    from samplers import InvalidInput

    if len(paths) < 2:
        raise InvalidInput("one run has nothing beside it; name two folders or more")
    names = _names(paths)
    with ExitStack() as stack:
        found = [stack.enter_context(opened(path, model)) for path in dict.fromkeys(paths)]
        if len(found) < len(paths):
            raise InvalidInput("a folder is named twice; name each once")
        return compare_runs([Side(name, each.run, each.summary) for name, each in zip(names, found, strict=True)])


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The last parts of the folders, as many as it takes to tell them apart."""
    parts = [Path(path).resolve().parts for path in paths]
    count = 1
    while len({each[-count:] for each in parts}) < len(set(parts)):
        count += 1
    return ["/".join(each[-count:]) for each in parts]


def _lines(compared: Comparison, width: int | None) -> Iterator[str]:
    count = len(compared.names)
    room = None if width is None else max(NARROWEST, (width - LABEL) // count - GAP)
    beside = count if room is None or width is None else max(1, min(count, (width - LABEL) // (room + GAP)))
    for first in range(0, count, beside):
        part = slice(first, first + beside)
        for rows in (compared.settings, compared.figures):
            yield from _table([("", compared.names), *rows], part, room)
            yield ""
    for name, trust, best in zip(compared.names, compared.trusts, compared.best, strict=True):
        yield cut(name, width)
        yield from (f"  {each}" for each in fold(trust, width and width - 2))
        yield from (f"  {energy:>7}  {cut(text, width and width - 11)}" for energy, text in best)
        yield ""
    yield compared.remark


def _table(rows: Sequence[tuple[str, list[str]]], part: slice, room: int | None) -> Iterator[str]:
    cells = [(cut(label, LABEL - GAP), [cut(cell, room) for cell in found[part]]) for label, found in rows]
    sizes = [max(columns(found[index]) for _, found in cells) for index in range(len(cells[0][1]))]
    for label, found in cells:
        padded = (cell + " " * (size - columns(cell)) for cell, size in zip(found, sizes, strict=True))
        yield (label + " " * (LABEL - columns(label)) + (" " * GAP).join(padded)).rstrip()


@click.command("diff")
@click.argument("folders", metavar="DIR DIR...", nargs=-1, required=True, type=click.Path())
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page with traces to this file instead.")
@click.option("--model", metavar="NAME", help="Whose tokenizer it was, if it is not where the runs had it.")
def command(folders: tuple[str, ...], html: str | None, model: str | None) -> None:
    """Put the runs in these folders side by side: settings that differ, figures, best texts."""
    from samplers.storage import write_atomically

    compared = diff(folders, model=model)
    if html is None:
        click.echo("\n".join(_lines(compared, terminal_width())))
    else:
        write_atomically(Path(html), comparison_page(compared).encode())


command.params.append(debug_option())
