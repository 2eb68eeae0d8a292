"""File and line of a user's own function, for errors of energies."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

__all__ = ["defined_at", "raised_at"]


def raised_at(error: BaseException, function: Callable[..., Any]) -> str | None:
    """``file:line: source`` of the deepest call before ``error`` in the file of ``function``.

    Where ``function`` itself could not be called, its first line; ``None`` if it is not written in Python.
    """
    code = _code(function)
    if code is None:
        return None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == code.co_filename]
    return f"{own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else defined_at(function)


def defined_at(function: Callable[..., Any]) -> str | None:
    """``file:line: source`` of the first line of ``function``; ``None`` if it is not written in Python."""
    code = _code(function)
    if code is None:
        return None
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"{code.co_filename}:{code.co_firstlineno}: {line}"


def _code(function: Callable[..., Any]) -> CodeType | None:
    """Of what the user wrote: the function inside of partials and decorators."""
    while isinstance(function, partial) or hasattr(function, "__wrapped__"):
        function = function.func if isinstance(function, partial) else inspect.unwrap(function)
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
