"""A run file as it was written: every key and value as text, with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from samplers import InvalidInput

__all__ = ["Document", "Entry", "Items", "Scalar", "Value", "bad"]


@dataclass(frozen=True)
class Scalar:
    """A value as it would be typed on the command line; ``None`` for one that is left empty."""

    text: str | None
    line: int


@dataclass(frozen=True)
class Items:
    """A list of values."""

    values: tuple[Value, ...]
    line: int


Value: TypeAlias = Scalar | Items


@dataclass(frozen=True)
class Entry:
    """A key with its value, and the line of the key."""

    value: Value
    line: int


@dataclass(frozen=True)
class Document:
    """The entries of the file at ``path`` by key."""

    path: Path
    entries: Mapping[str, Entry]

    def bad(self, line: int, problem: str) -> InvalidInput:
        """An error of one line of the file."""
        return bad(self.path, line, problem)


def bad(path: Path, line: int | None, problem: str) -> InvalidInput:
    from samplers import InvalidInput

    return InvalidInput(f"{str(path)!r}{'' if line is None else f', line {line}'}: {problem}")
