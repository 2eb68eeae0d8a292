"""Plain functions of texts as energies, with errors that point at the user's own line."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from samplers import EnergyError, EnergyTerm

__all__ = ["TextEnergy"]


class TextEnergy(EnergyTerm):
    """``function(texts) -> one number of nats a text``, lower is better, ``inf`` forbids.

    Raises ``EnergyError`` with the text at fault when the function raises (then also with the line that did), returns
    NaN or ``-inf``, something that is not a number, or the wrong number of values.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[float]],
        decode: Callable[[Tensor], list[str]],
        name: str | None = None,
    ) -> None:
        self.function, self.decode = function, decode
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        texts = self.decode(x)
        values = self._call(texts, x)
        if hasattr(values, "tolist"):  # arrays and tensors, also those without a dimension
            values = values.tolist()
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise self._error(f"returned {type(values).__name__}, not a list of numbers", x, texts)
        if len(values) != len(texts):
            raise self._error(f"returned {len(values)} values for {len(texts)} texts", x, texts)
        for row, value in enumerate(values):
            if not isinstance(value, Real):
                problem = f"returned {value!r} ({type(value).__name__}), not a number of nats"
                raise self._error(problem, x, texts, row)
            if math.isnan(value) or value == -math.inf:
                raise self._error(f"returned {value}; give a number of nats, inf to forbid", x, texts, row)
        return torch.tensor([float(value) for value in values], dtype=torch.float64, device=x.device)

    def _call(self, texts: list[str], x: Tensor) -> Any:
        try:
            return self.function(list(texts))
        except Exception as error:
            for row, text in enumerate(texts):  # the first text that does it alone, where one does
                try:
                    self.function([text])
                except Exception as single:
                    raise self._error(self._told(single), x, texts, row) from single
            raise self._error(self._told(error), x, texts) from error

    def _error(self, problem: str, x: Tensor, texts: list[str], row: int | None = None) -> EnergyError:
        """Of one row, or of all where none is known to be at fault."""
        rows = slice(None) if row is None else slice(row, row + 1)
        error = EnergyError(problem, term=self.name, rows=() if row is None else [row], x=x[rows])
        error.texts = texts[rows]
        return error

    def _told(self, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((f for f in reversed(frames) if f.filename == _source(self.function)), frames[-1])
        return f"raised {type(error).__name__}: {error} [{where.filename}:{where.lineno}: {where.line}]"


def _source(function: Callable[..., Any]) -> str | None:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code.co_filename if code else None
