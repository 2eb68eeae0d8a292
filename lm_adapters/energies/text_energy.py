"""Plain functions of texts as energies, with errors that point at the user's own line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lm_adapters.forward.oom import split_on_oom
from samplers import EnergyError, EnergyTerm

__all__ = ["TextEnergy"]


class TextEnergy(EnergyTerm):
    """An energy of states from ``function(texts)``, which returns a number of nats for each text.

    Lower is likelier, ``inf`` forbids. ``decode`` turns states into texts: pass ``space.decode``. ``name`` is by
    default that of the function.

    Raises ``EnergyError`` for something that is not a number, and for the wrong number of values; ``evaluate``, and so
    every sampler, also where it raises, returns NaN or ``-inf``, with the text at fault and the line of the function.
    Where it runs out of memory it is called again with half of the texts; raises ``OutOfMemory`` where a single text is
    too much.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[float]],
        decode: Callable[[Tensor], list[str]],
        name: str | None = None,
    ) -> None:
        self.function, self.decode = function, decode
        self.name = str(name or getattr(function, "__name__", type(function).__name__))

    @property
    def code(self) -> Callable[..., Any]:
        return self.function

    def texts(self, x: Tensor) -> list[str]:
        return self.decode(x)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        texts = self.decode(x)
        total = torch.empty(len(x), dtype=torch.float64)

        def run(rows: Tensor) -> list[float]:
            returned = self.function([texts[row] for row in rows.tolist()])
            try:
                return _numbers(returned, len(rows))
            except _NotNumbers as error:
                at = [] if error.row is None else [int(rows[error.row])]
                raise EnergyError(str(error), term=self.name, rows=at, x=x[at or rows.to(x.device)]) from None

        for rows, values in split_on_oom(torch.arange(len(x)), run, scorer=self):
            total[rows] = torch.tensor(values, dtype=torch.float64)
        return total.to(x.device)


class _NotNumbers(Exception):
    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem)
        self.row = row


def _numbers(returned: Any, count: int) -> list[float]:
    """A list of ``count`` numbers. Raises ``_NotNumbers`` for anything else."""
    if hasattr(returned, "tolist"):  # arrays and tensors, zero-dimensional ones included
        returned = returned.tolist()
    if isinstance(returned, str) or not hasattr(returned, "__len__"):
        raise _NotNumbers(f"returned {type(returned).__name__}, not a list of numbers")
    if len(returned) != count:
        raise _NotNumbers(f"returned {len(returned)} values for {count} texts")
    for row, value in enumerate(returned):
        if not isinstance(value, Real):
            raise _NotNumbers(f"returned {value!r} ({type(value).__name__}), not a number of nats", row)
    return [float(value) for value in returned]
