"""``--resume DIR``: the arguments of a run, read from its folder, which is not trusted."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from experiments.declaration.arguments import Argument

__all__ = [
    "ABOUT_THE_RUN",
    "current_names",
    "folder_option",
    "may_come_from_folder",
    "new_folder",
    "resume_option",
]

ABOUT_THE_RUN = ("experiment", "energy_sha256")  # in ``config.json`` beside the arguments


def resume_option(arguments: Iterable[Argument]) -> click.Option:
    """Makes the arguments of the folder's run the defaults of the command.

    An argument that is given is used instead, and is then compared with the folder. Raises ``click.BadParameter``
    for a folder that holds no run of this command, or values that the command line would not take.
    """
    known = {each.name: each for each in arguments if each.recorded}

    def resume(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.default_map = {"out": value, **_arguments_of(value, known, ctx, param)}

    return click.Option(
        ["--resume"],
        type=click.Path(),
        is_eager=True,
        expose_value=False,
        callback=resume,
        metavar="DIR",
        help="Resume the run in this folder, with its arguments and options where none are given.",
    )


def folder_option(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """The folder of the run: the one to resume, the one given, or a new one."""
    resumed = (ctx.default_map or {}).get("out")
    if resumed is not None and value != resumed:
        raise click.BadParameter(
            f"{value!r} is given together with --resume {resumed!r}; give one of the two", ctx, param
        )
    return value or new_folder(str(ctx.command.name))


def new_folder(name: str, parent: str = "runs") -> str:
    """``runs/NAME-TIME-XXXX``: the last letters are random, as two runs may begin within a second."""
    while True:
        path = f"{parent}/{name}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        if not os.path.lexists(path):
            return path


def current_names(stored: dict[str, Any], arguments: Iterable[Argument]) -> dict[str, Any]:
    """``config.json`` of an earlier version with the arguments' names of today."""
    today = {each.option.formerly: each.name for each in arguments if each.option and each.option.formerly}
    return {today.get(name, name): value for name, value in stored.items()}


def may_come_from_folder(each: Argument, value: Any) -> bool:
    """Whether a folder may decide this: never the address of a server, which would be sent the user's key."""
    from lm_adapters import is_remote

    return each.positional or not is_remote(value)


def _arguments_of(path: str, known: dict[str, Argument], ctx: click.Context, param: click.Parameter) -> dict[str, Any]:
    stored = _stored(path)
    named, wanted = stored.get("experiment"), ctx.command.name
    if named != wanted:
        raise click.BadParameter(f"{path!r} holds a run of {named!r}, not of {wanted!r}", ctx, param)
    parameters = {parameter.name: parameter for parameter in ctx.command.params}
    defaults: dict[str, Any] = {}
    for field, given in current_names(stored, known.values()).items():
        if field in ABOUT_THE_RUN or given is None:
            continue
        if field not in known:
            raise _bad(path, f"has a field {field!r}, which {wanted!r} does not know")
        option = known[field].option
        if option and not (option.from_folder and may_come_from_folder(known[field], given)):
            continue
        try:
            defaults[field] = _checked(parameters[field], given, ctx)
        except click.BadParameter as error:
            raise _bad(path, f"has a value of {field!r} that cannot be taken: {error.message}") from error
    return defaults


def _stored(path: str) -> dict[str, Any]:
    from samplers import RunStore, StoreError

    try:
        found = Path(path, "config.json").exists()
    except OSError as error:
        raise click.BadParameter(f"{path!r} cannot be read ({error.strerror})", param_hint="--resume") from error
    if not found:
        raise click.BadParameter(f"{path!r} holds no run (no config.json)", param_hint="--resume")
    try:
        return RunStore(path).read("config.json")
    except StoreError as error:
        raise click.BadParameter(str(error), param_hint="--resume") from error


def _checked(option: click.Parameter, value: Any, ctx: click.Context) -> Any:
    """``value`` as the option itself reads it. Raises ``click.BadParameter``."""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{value!r} is neither true nor false")
        return value
    if option.multiple or option.nargs == -1:
        if not isinstance(value, list):
            raise click.BadParameter(f"{value!r} is no list")
        written: Any = [_written(item) for item in value]
    else:
        written = _written(value)
    return option.type_cast_value(ctx, written)


def _written(value: Any) -> str:
    """As it would be typed."""
    if isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value):
        return f"{value[0]}:{value[1]}"  # a range of lengths
    if type(value) not in (str, int, float):
        raise click.BadParameter(f"{value!r} is no text and no number")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value!r} is no text") from error
    if "\0" in text:
        raise click.BadParameter(f"{value!r} is no text")
    return text


def _bad(path: str, problem: str) -> click.BadParameter:
    return click.BadParameter(
        f"{str(Path(path, 'config.json'))!r} {problem}; put it back from a copy", param_hint="--resume"
    )
