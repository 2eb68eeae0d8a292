"""Plain functions of texts as energies, with errors that point at the user's own line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from lm_adapters.energies.numbers import NotNumbers, numbers
from lm_adapters.forward.oom import split_on_oom
from samplers import EnergyError, EnergyTerm

__all__ = ["TextEnergy"]

USAGE = "an energy gets a list of texts and returns one number for each"


class TextEnergy(EnergyTerm):
    """An energy of states from ``function(texts)``, which returns a number of nats for each text.

    Lower is likelier, ``inf`` forbids. ``decode`` turns states into texts: pass ``space.decode``. ``name`` is by
    default that of the function.

    Whatever it writes into the list is its own affair: each call gets a new one. The first time there is a warning.

    Raises ``EnergyError`` for something that is not a number, and for the wrong number of values; ``evaluate``, and so
    every sampler, also where it raises, returns NaN or ``-inf``, with the text at fault and the line of the function.
    Where it runs out of memory it is called again with half of the texts; raises ``OutOfMemory`` where a single text is
    too much.
    """

    transient = ("_has_written",)

    def __init__(
        self,
        function: Callable[[list[str]], Sequence[float]],
        decode: Callable[[Tensor], list[str]],
        name: str | None = None,
    ) -> None:
        self.function, self.decode = function, decode
        self.name = str(name or getattr(function, "__name__", type(function).__name__))
        self._has_written = False

    @property
    def code(self) -> Callable[..., Any]:
        return self.function

    def texts(self, x: Tensor) -> list[str]:
        return self.decode(x)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        texts = self.decode(x)
        total = torch.empty(len(x), dtype=torch.float64)

        def run(rows: Tensor) -> list[float]:
            try:
                return numbers(self._called([texts[row] for row in rows.tolist()]), len(rows))
            except NotNumbers as error:
                at = [] if error.row is None else [int(rows[error.row])]
                raise EnergyError(
                    str(error), term=self.name, rows=at, x=x[at or rows.to(x.device)], remedy=USAGE
                ) from None

        for rows, values in split_on_oom(torch.arange(len(x)), run, scorer=self):
            total[rows] = torch.tensor(values, dtype=torch.float64)
        return total.to(x.device)

    def _called(self, texts: list[str]) -> Any:
        """What the function returns for the texts."""
        given = list(texts)
        try:
            returned = self.function(given)
        except (AttributeError, TypeError) as error:
            if "list" in str(error) or "argument" in str(error):
                error.add_note(USAGE)
            raise
        if not self._has_written and list(map(id, given)) != list(map(id, texts)):
            self._has_written = True
            with suppress(Warning):  # where warnings are errors, this one must not end a run
                warnings.warn(
                    f"energy {self.name!r} writes into the list of texts that it gets; nobody else sees that, but it "
                    "must not depend on what it wrote",
                    stacklevel=2,
                )
        return returned
