"""The command ``mcmc-text``: its subcommands are what packages, ours among them, register as experiments.

Our modules import click and the standard library at the top and torch inside their functions, and those of other
packages are imported when they are called, so that help is instant.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from experiments.declaration.plugins import OURS, find_plugin, packages_with, plugin_names
from experiments.declaration.user_code import debug_option, traceback_if_debug
from experiments.declaration.wording import in_options
from experiments.entry.find import plugin_command
from experiments.entry.streams import CLOSED_PIPE, drop_unwritten, is_closed_pipe, prepare_streams, refusal
from experiments.results.safe_text import visible

__all__ = ["main"]


class Experiments(click.Group):
    """Finds the commands, and turns every expected error into one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return plugin_names("experiments")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        packages = packages_with("experiments", name)
        if not packages:
            return None
        return _command(name) if OURS in packages else _OfOthers(name, packages)

    def invoke(self, ctx: click.Context) -> Any:
        with traceback_if_debug(ctx):
            return super().invoke(ctx)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        return run_command(super().main, *args, **kwargs)


class _OfOthers(click.Command):
    """A command of another package, which is imported no sooner than it is called."""

    def __init__(self, name: str, packages: Sequence[str]) -> None:
        super().__init__(name, help=f"Comes with the package {' and '.join(packages)}.")

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return _command(str(self.name)).make_context(info_name, args, parent, **extra)


def _command(name: str) -> click.Command:
    entry = find_plugin("experiments", name)
    assert entry is not None, "the name is registered"
    return plugin_command(entry)


def run_command(run: Any, *args: Any, **kwargs: Any) -> None:
    """Run a click command; one line for every end but a good one.

    The exit code is 2 for bad input, 1 for a run that failed, 130 on Ctrl-C, 143 on SIGTERM, 129 where the terminal
    went away, and 141, without a word, where nobody reads the output any more (``| head``).
    """
    prepare_streams()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            _run(run, args, kwargs)
        finally:
            drop_unwritten()


def _run(run: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    try:
        _check_arguments(args[0] if args else kwargs.get("args"))
        code = run(*args, **{**kwargs, "standalone_mode": False})
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except SystemExit as stop:
        if is_closed_pipe(stop):  # click ends the program
            sys.exit(CLOSED_PIPE)
        _fail(f"the code of an energy or a model ended the program (SystemExit: {stop}); take that out", 1)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        where = f"{error.ctx.command_path}: " if isinstance(error, click.UsageError) and error.ctx else ""
        _fail(where + error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped", 130)
    except Exception as error:
        if is_closed_pipe(error):
            sys.exit(CLOSED_PIPE)
        if problem := refusal(error):
            _fail(problem, 1)
        code = _exit_code(error)
        if code is None:
            raise
        if code > 128:
            _say("\n".join(map(visible, str(error).splitlines())))
            sys.exit(code)
        _fail(_in_one_line(error), code)
    sys.exit(code)


def _check_arguments(given: Sequence[str] | None) -> None:
    """Bytes that are no UTF-8 arrive as halves of characters, which no tokenizer and no file takes."""
    for argument in sys.argv[1:] if given is None else given:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            problem = "it holds bytes that are no UTF-8, or LANG is of another encoding"
            raise click.UsageError(f"{argument!r} is no text: {problem}") from error


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {visible(' '.join(str(message).split()))}")


def _exit_code(error: Exception) -> int | None:
    from samplers import Interrupted, InvalidInput, McmcTextError

    if isinstance(error, Interrupted):
        return 128 + error.signal
    if isinstance(error, InvalidInput):
        return 2
    if isinstance(error, McmcTextError):
        return 1
    from lm_adapters.forward import is_out_of_memory

    return 1 if is_out_of_memory(error) else None


def _in_one_line(error: Exception) -> str:
    from samplers import McmcTextError

    if isinstance(error, McmcTextError):
        return in_options(str(error))
    problem = str(error).partition("\n")[0] or type(error).__name__
    return f"memory does not suffice ({problem}); take fewer chains, shorter texts, --dtype bfloat16 or smaller models"


def _fail(message: str, code: int) -> NoReturn:
    _say(f"error: {visible(' '.join(message.split()))}")
    sys.exit(code)


def _say(message: str) -> None:
    """On stderr, if there is still somebody to read it."""
    with suppress(OSError):
        click.echo(message, err=True)


@click.group(cls=Experiments, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mcmc-text")
def main() -> None:
    """Sample text with MCMC: write what you want as an energy, draw texts from exp(-energy)."""


main.params.append(debug_option())


if __name__ == "__main__":
    main()
