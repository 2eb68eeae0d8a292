"""The command that does a run again, from what its folder recorded."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click

from experiments.declaration.arguments import Argument
from experiments.declaration.options import click_parameter

__all__ = ["how_to_repeat"]


def how_to_repeat(config: Mapping[str, Any], arguments: Iterable[Argument]) -> str:
    """One line for a shell: every recorded argument that differs from its default, but for the folder.

    The same machine and the same versions are needed for the same draws; ``env.json`` has them.
    """
    places: list[str] = []
    options: list[str] = []
    for each in arguments:
        value = config.get(each.name)
        if not each.recorded or each.name == "out" or value is None or _is_default(each, value):
            continue
        parameter = click_parameter(each)
        if isinstance(parameter, click.Option):
            options += _option(parameter, each, value)
        else:
            places += [str(one) for one in value] if each.is_many else [str(value)]
    # What begins with a dash would be an option.
    end = ["--"] if any(place.startswith("-") for place in places) else []
    words = ["mcmc-text", str(config["experiment"])]
    return shlex.join([*words, *options, *end, *places] if end else [*words, *places, *options])


def _is_default(argument: Argument, value: Any) -> bool:
    default = argument.default
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def _option(parameter: click.Option, argument: Argument, value: Any) -> list[str]:
    name = parameter.opts[0]
    if parameter.is_flag:
        return [name] if value else parameter.secondary_opts[:1]
    if argument.is_many:
        return [word for one in value for word in (name, str(one))]
    return [name, f"{value[0]}:{value[1]}" if argument.is_range else str(value)]
