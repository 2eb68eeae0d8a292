"""The command that does a run again, from what its folder recorded."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from experiments.declaration.arguments import Argument
from experiments.declaration.options import click_parameter

__all__ = ["how_to_repeat"]


Completed = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def how_to_repeat(config: Mapping[str, Any], arguments: Iterable[Argument], completed: Completed) -> str:
    """One line for a shell: the recorded arguments but for the folder, without those that follow from the others.

    ``completed`` adds to arguments what others are where only these are given. The same machine and the same versions
    are needed for the same draws; ``env.json`` has them.
    """
    places: list[str] = []
    options: list[str] = []
    for each, value in _needed(config, list(arguments), completed):
        parameter = click_parameter(each)
        if isinstance(parameter, click.Option):
            options += _option(parameter, each, value)
        else:
            places += [str(one) for one in value] if each.is_many else [str(value)]
    # What begins with a dash would be an option.
    end = ["--"] if any(place.startswith("-") for place in places) else []
    words = ["mcmc-text", str(config["experiment"])]
    return shlex.join([*words, *options, *end, *places] if end else [*words, *places, *options])


def _needed(
    config: Mapping[str, Any], arguments: Sequence[Argument], completed: Completed
) -> Iterator[tuple[Argument, Any]]:
    """The arguments without which those recorded in ``config`` would be others, with their values."""
    recorded = [
        each for each in arguments if each.recorded and each.name != "out" and config.get(each.name) is not None
    ]
    given = {each.name: config[each.name] for each in recorded}
    for each in recorded:
        if not each.required:
            without = {name: value for name, value in given.items() if name != each.name}
            before, after = completed(given), completed(without)
            if all(_listed(before[one.name]) == _listed(after[one.name]) for one in recorded):
                given = without
                continue
        yield each, config[each.name]


def _listed(value: Any) -> Any:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _option(parameter: click.Option, argument: Argument, value: Any) -> list[str]:
    name = parameter.opts[0]
    if parameter.is_flag:
        return [name] if value else parameter.secondary_opts[:1]
    if argument.is_many:
        return [word for one in value for word in (name, str(one))]
    return [name, f"{value[0]}:{value[1]}" if argument.is_range else str(value)]
