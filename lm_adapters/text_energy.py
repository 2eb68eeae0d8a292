"""Plain functions of texts as energies, with errors that point at the user's own line."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
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
        try:
            values = self._call(texts)
        except EnergyError as error:
            raise self._narrowed(error, x, texts) from error.__cause__
        return torch.tensor(values, dtype=torch.float64, device=x.device)

    def _narrowed(self, error: EnergyError, x: Tensor, texts: list[str]) -> EnergyError:
        """``error`` with the first text that causes it alone, where one does."""
        for row, text in enumerate(texts):
            try:
                self._call([text])
            except EnergyError as single:
                single.rows, single.x, single.texts = [row], x[row : row + 1], [text]
                return single
        error.x, error.texts = x, texts
        return error

    def _call(self, texts: list[str]) -> list[float]:
        try:
            values = self.function(list(texts))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == _source(self.function)]
            where = own[-1] if own else where
            line = f"{where.filename}:{where.lineno}: {where.line}"
            raise EnergyError(f"raised {type(error).__name__}: {error} [{line}]", term=self.name) from error
        if isinstance(values, Tensor):
            values = values.tolist()
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise EnergyError(f"returned {type(values).__name__}, not a list of numbers", term=self.name)
        if len(values) != len(texts):
            raise EnergyError(f"returned {len(values)} values for {len(texts)} texts", term=self.name)
        for value in values:
            if not isinstance(value, Real):
                raise EnergyError(f"returned {value!r} ({type(value).__name__}), not a number of nats", term=self.name)
            if math.isnan(value) or value == -math.inf:
                raise EnergyError(f"returned {value}; give a number of nats, inf to forbid", term=self.name)
        return [float(value) for value in values]


def _source(function: Callable[..., Any]) -> str | None:
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code.co_filename if code else None
