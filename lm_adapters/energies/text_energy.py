"""Plain functions of texts as energies, with errors that point at the user's own line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lm_adapters.forward.oom import is_out_of_memory, split_on_oom
from samplers import EnergyError, EnergyTerm
from samplers.energy.source_location import defined_at, raised_at

__all__ = ["TextEnergy"]


class TextEnergy(EnergyTerm):
    """An energy of states from ``function(texts)``, which returns a number of nats for each text.

    Lower is likelier, ``inf`` forbids. ``decode`` turns states into texts: pass ``space.decode``. ``name`` is by
    default that of the function.

    Raises ``EnergyError`` with the text at fault and the line of the function where it raises, returns NaN, ``-inf`` or
    something that is not a number, or returns the wrong number of values. Where it runs out of memory it is called
    again with half of the texts; raises ``OutOfMemory`` where a single text is too much.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[float]],
        decode: Callable[[Tensor], list[str]],
        name: str | None = None,
    ) -> None:
        self.function, self.decode = function, decode
        self.name = str(name or getattr(function, "__name__", type(function).__name__))

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        texts = self.decode(x)
        total = torch.empty(len(x), dtype=torch.float64)

        def run(rows: Tensor) -> list[float]:
            try:
                return self._scored(x[rows.to(x.device)], [texts[row] for row in rows.tolist()])
            except EnergyError as error:
                error.rows = rows[error.rows].tolist()
                raise

        for rows, values in split_on_oom(torch.arange(len(x)), run, scorer=self):
            total[rows] = torch.tensor(values, dtype=torch.float64)
        return total.to(x.device)

    def _scored(self, x: Tensor, texts: list[str]) -> list[float]:
        values = self._call(x, texts)
        if hasattr(values, "tolist"):  # arrays and tensors, zero-dimensional ones included
            values = values.tolist()
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise self._error(f"returned {type(values).__name__}, not a list of numbers", x, texts)
        if len(values) != len(texts):
            raise self._error(f"returned {len(values)} values for {len(texts)} texts", x, texts)
        for row, value in enumerate(values):
            if not isinstance(value, Real):
                problem = f"returned {value!r} ({type(value).__name__}), not a number of nats"
                raise self._error(problem, x, texts, [row])
        for what, wrong in (("-inf", lambda value: value == -math.inf), ("nan", math.isnan)):
            if rows := [row for row, value in enumerate(values) if wrong(value)]:
                problem = f"returned {what}; give a number of nats, inf to forbid"
                raise self._error(problem, x, texts, rows, nan=what == "nan")
        return [float(value) for value in values]

    def _call(self, x: Tensor, texts: list[str]) -> Any:
        try:
            return self.function(list(texts))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            for row, text in enumerate(texts):  # find the first text that fails alone, if one does
                try:
                    self.function([text])
                except Exception as single:
                    raise self._raised(single, x, texts, [row]) from single
            raise self._raised(error, x, texts) from error

    def _raised(self, error: Exception, x: Tensor, texts: list[str], rows: Sequence[int] = ()) -> EnergyError:
        problem, where = f"raised {type(error).__name__}: {error}", raised_at(error, self.function)
        return self._error(problem, x, texts, rows, where=where)

    def _error(
        self,
        problem: str,
        x: Tensor,
        texts: list[str],
        rows: Sequence[int] = (),
        *,
        nan: bool = False,
        where: str | None = None,
    ) -> EnergyError:
        """An error about ``rows``, or about all rows where it is not known which are at fault."""
        at = list(rows) or list(range(len(texts)))
        where = where or defined_at(self.function)
        error = EnergyError(problem, term=self.name, rows=rows, x=x[at], nan=nan, where=where)
        error.texts = [texts[row] for row in at]
        return error
