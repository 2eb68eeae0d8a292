"""``nan="reject"``: energies whose NaN forbids a state instead of ending the run, up to a point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.energy.candidates import replaced
from samplers.energy.checked_call import refused, weighed
from samplers.energy.terms import EnergyTerm, WeightedSum, in_order, lower_bound_of, named, term_names
from samplers.errors import EnergyError, TooManyNaN
from samplers.types import Energy

__all__ = ["NaNCount", "NaNPolicy", "tolerant"]

NaNPolicy = Literal["raise", "reject"]

MOST = 0.01  # of the rows scored
ENOUGH = 1000  # rows that tell a rate of 1 %: ten NaN are borne at any time, as so few say little of a rate


@dataclass
class NaNCount:
    """Rows scored in the steps of a run, and those of them that were NaN.

    A row is counted once, where the first term that is no constraint is asked for it, so ``rows`` are what the
    constraints allow. It is NaN once, at the first term that is: the others are then spared it.
    """

    rows: int = 0
    nan: int = 0

    def add(self, rows: int, nan: int, term: str) -> None:
        """Raise ``TooManyNaN`` above 1 % of the rows, taken to be at least 1,000."""
        self.rows, self.nan = self.rows + rows, self.nan + nan
        if self.nan > MOST * max(self.rows, ENOUGH):
            raise TooManyNaN(
                f"{self.nan} of {self.rows} rows were NaN, lately in energy {term!r}; to reject more than {MOST:.0%} "
                'would hide what is wrong: run with nan="raise" to see the first of them'
            )


def tolerant(energy: Energy, counts: NaNCount) -> Energy:
    """``energy`` with the same terms, but ``+inf`` for NaN, whatever the weight; each is counted in ``counts``.

    The law sampled is then the target restricted to states whose energy is a number: a kernel with an accept step
    rejects the others, Gibbs gives them no weight. A kernel that ``no_accept_step`` would enter them: ``ShardedRun``,
    and so ``sample`` and ``anneal``, refuse it.
    It is meant for steps alone, as a start must have a number; and ``-inf`` is an error still.

    Cost: none, but for terms that raise for NaN themselves: what else was in their call is scored again.
    """
    if not isinstance(energy, WeightedSum):
        return _tolerant(1.0, energy, counts, counted=True)
    counted = next((index for index, _, part in in_order(energy.parts) if not part.is_constraint), 0)
    return WeightedSum(
        [(1.0, _tolerant(*part, counts, counted=index == counted)) for index, part in enumerate(energy.parts)]
    )


def _tolerant(weight: float, energy: Energy, counts: NaNCount, *, counted: bool) -> _Tolerant:
    term = energy if isinstance(energy, EnergyTerm) else named(term_names(energy)[0], energy)
    shares = type(term).candidate_values is not EnergyTerm.candidate_values
    return (_TolerantCandidates if shares else _Tolerant)(term, 1.0 if term.is_constraint else weight, counts, counted)


class _Tolerant(EnergyTerm):
    """``weight * inner``; ``counted``: its rows are those of the whole energy."""

    def __init__(self, inner: EnergyTerm, weight: float, counts: NaNCount, counted: bool) -> None:
        self.inner, self.weight, self.counts, self.counted = inner, weight, counts, counted
        self.name, self.is_constraint = inner.name, inner.is_constraint

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return self.inner.expensive

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return lower_bound_of(self.weight, self.inner)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self._forbidden(x, self._with_nan(x, hint))

    def _with_nan(self, x: Tensor, hint: Any) -> Tensor:
        """The weighed values, also of a term that raises where one is NaN: without those rows it is asked again."""
        values = torch.full((len(x),), math.nan, dtype=torch.float64, device=x.device)
        rest = torch.arange(len(x), device=x.device)
        while len(rest):
            try:
                values[rest] = weighed(self.inner, x[rest], None if hint is None else hint[rest], weight=self.weight)
                break
            except EnergyError as error:
                error.rows = rest[error.rows].tolist()
                if not (error.nan and error.rows):
                    raise
                rest = rest[~torch.isin(rest, torch.tensor(error.rows, device=x.device))]
        return values

    def _forbidden(self, x: Tensor, values: Tensor, once: Tensor | None = None) -> Tensor:
        """``values`` with ``+inf`` for NaN; rows are counted where ``once`` (``bool [rows]``, default all) is true."""
        nan = values.isnan()
        once = torch.ones_like(nan) if once is None else once
        self.counts.add(int(once.sum()) if self.counted else 0, int((nan & once).sum()), self.name)
        return refused(self.inner, x, values.masked_fill(nan, math.inf), self.weight)


class _TolerantCandidates(_Tolerant):
    """Of a term whose candidates share work."""

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        rows = replaced(x, site, values)

        def score() -> Tensor:
            return self.inner.candidate_values(x, site, values).flatten()

        try:
            found = weighed(self.inner, rows, weight=self.weight, score=score)
        except EnergyError as error:
            if not error.nan:
                raise
            found = self._with_nan(rows, None)
        # A chain with fewer candidates than others has its first one again and again (see ``rectangles``).
        once = values != values[:, :1]
        once[:, 0] = True
        return self._forbidden(rows, found, once.flatten()).reshape(values.shape)
