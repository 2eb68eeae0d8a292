"""An energy of somebody else's, watched: the energy of a state must depend on that state alone."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from samplers.energy.checked_call import raw_values, unusable
from samplers.energy.terms import EnergyTerm
from samplers.errors import EnergyError

__all__ = ["Watched", "differs"]

ROWS = 16  # states compared in one call
MOST = 256  # of a call, among which new states are looked for
CALLS = 8  # that are looked at, so that chains which start alike are seen apart
SECONDS = 1.0  # that all of this may take
# Rows of a model's pass are rounded otherwise beside others: by 1e-5 of an energy in float32. A thousandth of a nat
# changes an acceptance by a thousandth at most. The same call again has nothing to round otherwise.
BESIDE_OTHERS = {"rtol": 1e-5, "atol": 1e-3}
AGAIN = {"rtol": 1e-5, "atol": 1e-5}


class Watched(EnergyTerm):
    """``inner``, of which the first calls are made again: as they were, one by one, and in reverse beside earlier ones.

    Raises ``EnergyError`` with both numbers where they differ by more than float32 rounds. Chains are independent and
    a run has a law only if a state's energy depends on nothing but the state. At most ``ROWS`` states in each of
    ``CALLS`` calls are scored again, for ``SECONDS`` in all, and always two. Values are those of ``inner``, with the
    same bits. A term that writes into its argument, of which it gets a copy, is warned about.
    """

    def __init__(self, inner: EnergyTerm) -> None:
        self.inner = inner
        self.name, self.is_constraint, self.expensive = inner.name, inner.is_constraint, inner.expensive
        self.lower_bound = inner.lower_bound
        self._calls, self._seconds, self._has_written = 0, 0.0, False
        self._seen: Tensor | None = None
        self._values = torch.empty(0, dtype=torch.float64)

    def config(self) -> Mapping[str, Any]:
        return {"inner": self.inner}

    @property
    def code(self) -> Callable[..., Any]:
        return self.inner.code

    @property
    def shares_candidates(self) -> bool:
        return self.inner.shares_candidates

    def texts(self, x: Tensor) -> list[str]:
        return self.inner.texts(x)

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        if self.inner.shares_candidates:
            return self.inner.candidate_values(x, site, values)
        return super().candidate_values(x, site, values)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        if self._calls >= CALLS or self._seconds >= SECONDS:
            return self.inner.values(x, hint)
        before, began = x.clone(), time.monotonic()
        values = self.inner.values(x, hint)
        seconds = time.monotonic() - began
        if not torch.equal(x, before):
            self._warn_of_writing()
        if not unusable(values, before):  # which the caller raises
            self._calls += 1
            self._compare(before, values.detach().to(torch.float64), seconds / len(before))
            self._seconds += time.monotonic() - began - seconds
        return values

    def contradiction(self, x: Tensor, kept: Tensor) -> str:
        """Both numbers where the energies ``kept float64 [rows]`` of ``x`` are others now; empty if they are not."""
        try:
            self._refuse(x, kept, raw_values(self.inner, x), BESIDE_OTHERS, "in the run", "afterwards")
        except EnergyError as error:
            error.texts = self.texts(error.x) if error.x is not None else []
            return str(error)
        return ""

    def _compare(self, x: Tensor, values: Tensor, seconds_a_row: float) -> None:
        """Score some of ``x`` again. Raises ``EnergyError``, of no row, for other values: no state is at fault."""
        left = (SECONDS - self._seconds) / (4 * seconds_a_row + 1e-9)
        rows = self._new(x)[: int(min(ROWS, max(2, left)))]
        if not len(rows):
            return
        some, wanted = x[rows], values[rows]
        try:
            first = wanted if len(rows) == len(x) else raw_values(self.inner, some)
            self._refuse(some, first, raw_values(self.inner, some), AGAIN, "the first time", "the second")
            self._refuse(some, wanted, first, BESIDE_OTHERS, "beside all others", "beside some of them")
            alone = torch.cat([self._alone(row) for row in some.split(1)])
            self._refuse(some, alone, wanted, BESIDE_OTHERS, "alone", "beside others")
            seen = self._remember(some, wanted)
            back = raw_values(self.inner, seen.flip(0)).flip(0)
            self._refuse(seen, self._values, back, BESIDE_OTHERS, "at first", "beside others in reverse order")
        except EnergyError as error:
            error.rows = []
            raise

    def _alone(self, x: Tensor) -> Tensor:
        try:
            return raw_values(self.inner, x)
        except EnergyError as error:
            error.problem = f"{error.problem} for this {self._what(x)} alone, and not beside others"
            raise

    def _new(self, x: Tensor) -> Tensor:
        """Numbers of the rows to compare: all in the first call, later those of states that have not been seen."""
        if self._seen is None or self._seen.shape[1:] != x.shape[1:]:
            return torch.arange(len(x), device=x.device)
        apart = x[:MOST].reshape(-1, 1, x[0].numel()) != self._seen.reshape(1, -1, x[0].numel())
        return apart.any(dim=2).all(dim=1).nonzero().squeeze(1)

    def _remember(self, x: Tensor, values: Tensor) -> Tensor:
        """The states seen of late, these among them."""
        if self._seen is None or self._seen.shape[1:] != x.shape[1:]:
            self._seen, self._values = x[:0], values[:0]
        self._seen = torch.cat([self._seen, x])[-ROWS:]
        self._values = torch.cat([self._values, values])[-ROWS:]
        return self._seen

    def _refuse(
        self, x: Tensor, one: Tensor, other: Tensor, tolerance: dict[str, float], when: str, otherwise: str
    ) -> None:
        """Raise for the row of ``x`` where the two values differ most."""
        apart = differs(one, other, **tolerance)
        if not bool(apart.any()):
            return
        gaps = (one - other).abs()
        row = int(torch.where(apart, gaps.nan_to_num(nan=math.inf), -1.0).argmax())
        what = self._what(x)
        remedy = f"an energy must depend on the {what} alone"
        if bool(gaps[row] < 0.01 * one[row].abs()):
            remedy += "; where it runs a model, mask the padding and use float32"
        both = f"{float(one[row]):.7g} for this {what} {when} and {float(other[row]):.7g} {otherwise}"
        raise EnergyError(f"gives {both}", term=self.name, x=x[row : row + 1], remedy=remedy)

    def _what(self, x: Tensor) -> str:
        return "text" if self.texts(x[:1]) else "state"

    def _warn_of_writing(self) -> None:
        if not self._has_written:
            self._has_written = True
            with suppress(Warning):  # where warnings are errors, this one must not end a run
                warnings.warn(
                    f"energy {self.name!r} writes into its argument; it gets a copy, so that no chain is changed, but "
                    "it must not depend on what it wrote",
                    stacklevel=2,
                )


def differs(one: Tensor, other: Tensor, *, rtol: float, atol: float) -> Tensor:
    """``bool [rows]``: whether two energies of the same states are further apart than rounding."""
    return ~torch.isclose(one, other, rtol=rtol, atol=atol, equal_nan=True)
