"""The names that an experiment's arguments have in a run file: those of the command line, without the dashes."""

from __future__ import annotations

from collections.abc import Iterable

import click

from experiments.declaration.arguments import Argument

__all__ = ["key_of", "keys_of"]


def key_of(argument: Argument) -> str:
    """The first name of its option: ``energy`` of ``energies``, ``real-words`` of ``--real-words/--any-words``."""
    names = argument.option.names if argument.option else ()
    return names[0].partition("/")[0].removeprefix("--") if names else argument.name.replace("_", "-")


def keys_of(arguments: Iterable[Argument], command: click.Command) -> dict[str, tuple[click.Parameter, bool]]:
    """Every name of an argument on the command line, with its parameter; true for the name that switches it off."""
    parameters = {each.name: each for each in command.params}
    found: dict[str, tuple[click.Parameter, bool]] = {}
    for each in arguments:
        if each.option is None:
            continue
        parameter = parameters[each.name]
        found[key_of(each)] = (parameter, False)
        if isinstance(parameter, click.Option):
            for names, off in ((parameter.opts, False), (parameter.secondary_opts, True)):
                found |= {name.removeprefix("--"): (parameter, off) for name in names if name.startswith("--")}
    return found
