"""What the user's own code prints, and where it fails: stdout belongs to results, a traceback to ``--debug``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

import click

__all__ = ["debug_option", "prints_to_stderr", "shielded", "traceback_if_debug"]

T = TypeVar("T")

DEBUG = "mcmc_text.debug"  # in the context of a command


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """What Python code prints in the block goes to stderr; what C code writes by itself does not."""
    with redirect_stdout(sys.stderr):
        yield


def shielded(start: Callable[[], Iterator[T]]) -> Iterator[T]:
    """The results of ``start()``, each computed while prints go to stderr."""
    with prints_to_stderr():
        results = start()
    while True:
        with prints_to_stderr():
            try:
                found = next(results)
            except StopIteration:
                return
        yield found


def debug_option() -> click.Option:
    """``--debug``, of the whole program and of every experiment."""

    def switch_on(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[DEBUG] = True

    option = click.Option(["--debug"], is_flag=True, help="Show the whole traceback of an error.")
    option.is_eager, option.expose_value, option.callback = True, False, switch_on
    return option


@contextmanager
def traceback_if_debug(ctx: click.Context) -> Iterator[None]:
    """Print the traceback of an error that leaves the block, if ``--debug`` was given."""
    try:
        yield
    except Exception as error:
        if ctx.meta.get(DEBUG) and not isinstance(error, click.exceptions.Exit):
            traceback.print_exception(error, file=sys.stderr)
        raise
