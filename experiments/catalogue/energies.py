"""``mcmc-text energies``: every energy that there is, a line each, with how to write it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import click

from experiments.catalogue.energy_classes import energy_classes, first_sentence
from experiments.catalogue.source_files import source_of
from experiments.declaration.arguments import Argument
from experiments.declaration.keys import key_of
from experiments.declaration.plugins import OURS, find_plugin, load_plugin, package_of, packages_with, plugin_names
from experiments.entry.experiment import experiment_of
from experiments.results.columns import columns, cut, terminal_width
from experiments.results.safe_text import visible
from experiments.setup.settings import SHARED

__all__ = ["command"]

OWN = """\
Your own     mcmc-text new-energy NAME writes a start, mcmc-text check-energy NAME.py:NAME examines it, and
             --energy NAME.py:NAME[=WEIGHT] adds it, in every experiment; in Python energies=[function]
"""


@dataclass(frozen=True)
class Line:
    name: str
    written: str
    summary: str


@click.command("energies")
def command() -> None:
    """The energies that there are, with how to write each, on the command line or in Python."""
    options = _options()
    library = energy_classes()
    named = [Line(each.name, options[each.name], each.summary) for each in library if each.name in options]
    rest = [Line(each.name, f"{each.place}.{each.call}", each.summary) for each in library if each.name not in options]
    click.echo(OWN)
    _print("By --energy, from packages", _of_packages())
    _print("By an option", named)
    _print("In Python", rest)


def _print(title: str, lines: Iterable[Line]) -> None:
    shown = [Line(visible(each.name), visible(each.written), visible(each.summary)) for each in lines]
    if not shown:
        return
    name, written = (max(min(columns(text), 60) for text in texts) for texts in (
        [each.name for each in shown], [each.written for each in shown]))  # fmt: skip
    click.echo(title)
    for each in shown:
        line = f"  {_padded(each.name, name)}  {_padded(each.written, written)}  {each.summary}"
        click.echo(cut(line.rstrip(), terminal_width()))
    click.echo()


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - columns(text))


def _of_packages() -> Iterator[Line]:
    for name in plugin_names("energies"):
        packages = packages_with("energies", name)
        if len(set(packages)) > 1 and OURS not in packages:
            yield Line(
                name, f"--energy {name}", f"registered twice, by {' and '.join(packages)}; uninstall one of them"
            )
        elif entry := find_plugin("energies", name):
            yield Line(name, f"--energy {name}", _summary(entry))


def _summary(entry: EntryPoint) -> str:
    """The first sentence of its docstring, read and not run; else its package."""
    path, said = source_of(entry.module), ""
    if path:
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            tree = ast.Module([], [])
        said = next((first_sentence(node) for node in tree.body if getattr(node, "name", None) == entry.attr), "")
    package = f"the package {package_of(entry)}"
    return f"{said} ({package})" if said else f"comes with {package}"


def _options() -> Mapping[str, str]:
    """How each class that an option of ours adds to the law is written: ``infill, keywords --pattern REGEX``."""
    written: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for each in SHARED.values():
        _note(written, each, "")
    for name in plugin_names("experiments"):
        plugin = find_plugin("experiments", name) if packages_with("experiments", name) == [OURS] else None
        declared = experiment_of(load_plugin(plugin)) if plugin else None
        for each in declared.own if declared else ():
            _note(written, each, name)
    return {
        energy: ", ".join(f"{', '.join(names)} {way}".strip() for way, names in ways.items())
        for energy, ways in written.items()
    }


def _note(written: dict[str, dict[str, list[str]]], each: Argument, experiment: str) -> None:
    for energy in each.option.energies if each.option else ():
        value = "" if each.takes(bool) else _value(each)
        way = value if each.positional else f"--{key_of(each)} {value}".strip()
        written[energy][way] += [experiment] if experiment else []


def _value(each: Argument) -> str:
    """What stands for its value, as in the help."""
    if each.option and each.option.metavar:
        return each.option.metavar
    if each.choices or each.positional:
        return "|".join(each.choices) or each.name.upper()
    return "N" if each.takes(int) else "NUMBER" if each.takes(float) else "NAME"
