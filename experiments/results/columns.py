"""Text measured as a terminal shows it: in columns, of which a Chinese character or an emoji takes two."""

from __future__ import annotations

import shutil
import sys

import wcwidth

__all__ = ["columns", "cut", "fold", "terminal_width"]

NARROWEST = 40  # columns; in a narrower terminal lines wrap


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; ``None`` for a pipe or a file, which have no width."""
    if not sys.stdout.isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)


def columns(text: str) -> int:
    """How many columns a line takes; a control character, which ``visible`` spells, takes none."""
    return wcwidth.width(text)


def cut(text: str, width: int | None) -> str:
    """At most ``width`` columns of a line, with an ellipsis where something is missing; all of it for ``None``."""
    if width is None or columns(text) <= width:
        return text
    return _start(text, width - 1) + "…"


def fold(text: str, width: int | None, most: int | None = None) -> list[str]:
    """Lines of at most ``width`` columns, broken between words where that is possible; one line for ``None``.

    Of more than ``most`` lines only these, with an ellipsis at the end.
    """
    if width is None:
        return [text]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(joined) <= width:
            lines[-1] = joined
            continue
        rest = word
        lines += [""] if lines[-1] else []
        while columns(rest) > width:
            start = _start(rest, width)
            lines[-1:] = [start, ""]
            rest = rest[len(start) :]
        lines[-1] = rest
    if most is None or len(lines) <= most:
        return lines
    return [*lines[: most - 1], _start(lines[most - 1], width - 2) + " …"]


def _start(text: str, width: int) -> str:
    """The longest start of whole characters, with what combines with them, that takes no more columns."""
    taken = 0
    start = ""
    for character in wcwidth.iter_graphemes(text):
        taken += columns(character)
        if taken > width:
            break
        start += character
    return start
