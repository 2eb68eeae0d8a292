"""Row numbers of errors: the batch that is scored is often a part of the one whose rows the user knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from samplers.errors import EnergyError

__all__ = ["row_numbers"]


@contextmanager
def row_numbers(rows: Tensor | Callable[[int], int] | None) -> Iterator[None]:
    """Renumber the rows of an ``EnergyError`` that leaves the block: by a tensor of numbers, or by a function."""
    try:
        yield
    except EnergyError as error:
        if isinstance(rows, Tensor):
            error.rows = rows[error.rows].tolist()
        elif rows is not None:
            error.rows = list(map(rows, error.rows))
        raise
