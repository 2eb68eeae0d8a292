"""Whatever a user's function returns, as one number for each text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

__all__ = ["NotNumbers", "numbers"]


class NotNumbers(Exception):
    """``row`` is the text at fault, ``None`` where it is not known."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem)
        self.row = row


def numbers(returned: Any, count: int) -> list[float]:
    """A list of ``count`` numbers: from a sequence, an array or a tensor, of anything that ``float`` takes but texts.

    Raises ``NotNumbers`` for anything else.
    """
    shape = getattr(returned, "shape", None)
    if shape is not None and len(shape) > 1:
        raise NotNumbers(f"returned shape {list(shape)} for {count} texts, not [{count}]")
    if hasattr(returned, "tolist"):  # arrays and tensors, zero-dimensional ones included
        returned = returned.tolist()
    if isinstance(returned, str | bytes | Mapping | Set) or not isinstance(returned, Collection):
        what = "None" if returned is None else type(returned).__name__
        raise NotNumbers(f"returned {what}, not a list of numbers")
    if len(returned) != count:
        raise NotNumbers(f"returned {len(returned)} values for {count} texts")
    return [_number(value, row) for row, value in enumerate(returned)]


def _number(value: Any, row: int) -> float:
    if hasattr(value, "detach"):  # a tensor with a gradient
        value = value.detach()
    if not isinstance(value, str | bytes | bytearray) and getattr(value, "shape", ()) == ():
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
        except OverflowError as error:
            raise NotNumbers(f"returned {type(value).__name__} too large for a float", row) from error
    raise NotNumbers(f"returned {value!r} ({type(value).__name__}), not a number of nats", row)
