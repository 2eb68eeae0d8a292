"""The parts of a user's function or class that decide what it computes: its code, and the values that this uses."""

from __future__ import annotations

import dis
import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from samplers.config import transient_names

__all__ = ["FunctionParts", "class_members", "function_parts"]


class FunctionParts(NamedTuple):
    """``code`` is a digest of everything but the constants, which are plain JSON; the rest are the values that it uses.

    ``modules`` are the names of modules that are imported inside the function.
    """

    code: str
    constants: list[Any]
    defaults: dict[str, Any]
    closure: dict[str, Any]
    globals: dict[str, Any]
    modules: list[str]


def function_parts(function: FunctionType) -> FunctionParts:
    """The parts of a function; file, line numbers, comments and docstring are none of them."""
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    given = function.__defaults__ or ()
    defaults = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
    closure = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not assigned yet
            if name != "__class__":  # what super() needs: the class that the function is found in
                closure[name] = cell.cell_contents
    constants = [None if value == function.__doc__ else value for value in code.co_consts[:1]] + [*code.co_consts[1:]]
    used = sorted({name for part in _nested(code) for name in _loaded(part)})
    return FunctionParts(
        code=_digest(_plain_code(code)),
        constants=[_digest(_whole_code(c)) if isinstance(c, CodeType) else _plain_constant(c) for c in constants],
        defaults=defaults | (function.__kwdefaults__ or {}),
        closure=closure,
        globals={name: function.__globals__[name] for name in used if name in function.__globals__},
        modules=sorted({name for part in _nested(code) for name in _imported(part)}),
    )


def class_members(kind: type) -> dict[str, Any]:
    """Functions and constants of a class body by name, without what Python adds and without ``transient`` names."""
    left_out = transient_names(kind) | {"transient", "_abc_impl"}
    members: dict[str, Any] = {}
    for name, value in sorted(vars(kind).items()):
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, cached_property):
            value = value.func
        elif isinstance(value, property):
            value = [part for part in (value.fget, value.fset, value.fdel) if part is not None]
        if isinstance(value, FunctionType):
            generated = value.__code__.co_qualname.startswith("__create_fn__")  # by dataclasses, of the fields
        else:
            generated = name.startswith("__") or inspect.ismemberdescriptor(value) or inspect.isgetsetdescriptor(value)
        if name not in left_out and not generated:
            members[name] = value
    return members


def _plain_code(code: CodeType) -> list[Any]:
    """Bytecode, names and signature."""
    return [
        code.co_code.hex(),
        [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars],
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags],
        code.co_exceptiontable.hex(),
    ]


def _whole_code(code: CodeType) -> list[Any]:
    constants = [_whole_code(c) if isinstance(c, CodeType) else _plain_constant(c) for c in code.co_consts]
    return [_plain_code(code), constants]


def _plain_constant(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return [_plain_constant(part) for part in value]
    if isinstance(value, frozenset):
        return {"set": sorted(map(repr, value))}
    return repr(value)


def _digest(plain: list[Any]) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:32]


def _nested(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _loaded(code: CodeType) -> Iterator[str]:
    """Names that are looked up among the globals."""
    wanted = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    return (instruction.argval for instruction in dis.get_instructions(code) if instruction.opname in wanted)


def _imported(code: CodeType) -> Iterator[str]:
    return (part.argval for part in dis.get_instructions(code) if part.opname == "IMPORT_NAME" and part.argval)
