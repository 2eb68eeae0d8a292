"""File and line of a user's own function, for errors of energies."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

__all__ = ["defined_at", "raised_at"]


def raised_at(error: BaseException, function: Callable[..., Any]) -> str | None:
    """``file:line: source`` of the deepest call before ``error``, in the file of ``function`` if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    code = _code(function)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    frame = next(reversed(own or frames), None)
    return None if frame is None else f"{frame.filename}:{frame.lineno}: {frame.line}"


def defined_at(function: Callable[..., Any]) -> str | None:
    """``file:line: source`` of the first line of ``function``; ``None`` if it is not written in Python."""
    code = _code(function)
    if code is None:
        return None
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"{code.co_filename}:{code.co_firstlineno}: {line}"


def _code(function: Callable[..., Any]) -> CodeType | None:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
