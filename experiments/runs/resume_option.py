"""``--resume DIR``: the arguments and options of a run, read from its folder, which is not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from experiments.runs.run_directory import default_directory
from experiments.setup.settings import UNTOLD

__all__ = ["folder", "resume"]

OF_ONE_COMMAND = ("resume", "as_json", "quiet")  # and of no run
# Of these a folder does not decide: where it lies, and what code is run.
NEVER = ("experiment", "out", "energies", "energy_sha256", "trust_remote_code")


def resume(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Make what the folder's run was given the defaults of the command.

    What is given besides counts more, and is then compared with the folder as ever. Raises ``click.BadParameter`` for
    a folder that holds no run of this command, or values that the command line would not take.
    """
    if value is None:
        return
    stored = _stored(value)
    named = stored.get("experiment")
    if named != ctx.command.name:
        raise click.BadParameter(f"{value!r} holds a run of {named!r}, not of {ctx.command.name!r}", ctx, param)
    options = {option.name: option for option in ctx.command.params if option.name not in (*UNTOLD, *OF_ONE_COMMAND)}
    defaults: dict[str, Any] = {"out": value}
    for field, given in stored.items():
        if field in NEVER or given is None:
            continue
        if field not in options:
            raise _bad(value, f"has a field {field!r}, which {ctx.command.name!r} does not know")
        try:
            defaults[field] = _checked(options[field], given, ctx)
        except click.BadParameter as error:
            raise _bad(value, f"has a value of {field!r} that cannot be taken: {error.message}") from error
    ctx.default_map = defaults


def folder(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """The folder of the run: the one to resume, the one given, or a new one."""
    resumed = (ctx.default_map or {}).get("out")
    if resumed is not None and value != resumed:
        raise click.BadParameter(f"{value!r} is given besides --resume {resumed!r}; give one of the two", ctx, param)
    return value or default_directory(str(ctx.command.name))


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
