"""The options of a command, generated from the arguments of its experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from experiments.declaration.arguments import Argument
from experiments.declaration.user_code import debug_option

__all__ = ["LENGTH", "click_option", "click_parameter", "given_options", "output_options"]


class _Length(click.ParamType[tuple[int, int]]):
    """``8`` or ``6:12``, in tokens."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            low, _, high = value.partition(":")
            lengths = int(low), int(high or low)
        except ValueError:
            self.fail(f"{value!r} is no length; give tokens as 8 or 6:12", param, ctx)
        if not 1 <= lengths[0] <= lengths[1]:
            self.fail(f"{value!r} is no range of lengths; give at least 1 and the smaller number first", param, ctx)
        return lengths


LENGTH = _Length()


def click_parameter(argument: Argument, **changes: Any) -> click.Parameter:
    """The argument on the command line: by place if it is positional, else an option.

    ``changes`` to the arguments that click gets. Raises ``TypeError`` for a type that a command line cannot give.
    """
    if not argument.positional:
        names, how = _declaration(argument)
        return click.Option(names, **{**how, **changes})
    assert argument.option is not None, "it has no place on the command line"
    how = {"type": argument.option.type or _click_type(argument), "metavar": argument.option.metavar}
    if argument.is_many:
        return click.Argument([argument.name], nargs=-1, required=argument.required, **{**how, **changes})
    how |= {"required": True} if argument.required else {"default": argument.default, "required": False}
    return click.Argument([argument.name], **{**how, **changes})


def click_option(argument: Argument) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives the same option to a command that is written by hand."""
    names, how = _declaration(argument)
    return click.option(*names, **how)


def _declaration(argument: Argument) -> tuple[list[str], dict[str, Any]]:
    """The names of an option and what click has to know of it."""
    option, default = argument.option, argument.default
    assert option is not None, "it has no place on the command line"
    names = [*(option.names or [f"--{argument.name.replace('_', '-')}"]), argument.name]
    if option.formerly:
        names.insert(1, f"--{option.formerly.replace('_', '-')}")
    how: dict[str, Any] = {"help": option.help or None, "metavar": option.metavar}
    if argument.takes(bool):
        return names, {**how, "is_flag": True, "default": default, "show_default": any("/" in name for name in names)}
    how["type"] = option.type or _click_type(argument)
    if argument.is_many:
        return names, {**how, "multiple": True}
    if argument.required:
        return names, {**how, "required": True}
    shown = f"{default[0]}:{default[1]}" if argument.is_range else default
    return names, {**how, "default": shown, "show_default": default is not None}


def given_options(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values of ``options`` those that the line, a file or a folder says, and the folder that ``out`` makes."""
    return {
        name: value
        for name, value in options.items()
        if name == "out" or context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def output_options() -> Iterable[click.Option]:
    """How the result is printed; no part of a run."""
    yield click.Option(["--json", "as_json"], is_flag=True, help="Print the samples as JSON Lines, and nothing else.")
    yield click.Option(["--quiet"], is_flag=True, help="Print nothing but errors.")
    yield debug_option()


def _click_type(argument: Argument) -> click.ParamType[Any]:
    option = argument.option
    assert option is not None
    if argument.choices:
        return click.Choice(argument.choices)
    if argument.is_range:
        return LENGTH
    bounded = option.minimum is not None or option.maximum is not None
    if argument.takes(int):
        least, most = (None if bound is None else int(bound) for bound in (option.minimum, option.maximum))
        return click.IntRange(least, most) if bounded else click.INT
    if argument.takes(float):
        return click.FloatRange(option.minimum, option.maximum) if bounded else click.FLOAT
    if argument.takes(bool):
        return click.BOOL
    if argument.takes(str) or argument.is_many:
        return click.STRING
    raise TypeError(
        f"argument {argument.name!r} has a type that no command line gives; use str, int, float, bool, Literal[...], "
        "tuple[int, int] or Sequence[str], or say type= in its Option"
    )
