"""Energies of states, checked: the functions by which kernels and samplers call an energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from samplers.energy.candidates import rectangles, replaced
from samplers.energy.checked_call import checked_values
from samplers.energy.nan_policy import NaNCount, NaNPolicy
from samplers.energy.terms import EnergyTerm, Evaluation, WeightedSum, in_order, parts_of
from samplers.types import Energy

__all__ = ["Evaluated", "evaluate", "evaluate_candidates", "rejecting_nan", "summed_like"]


def evaluate(
    energy: Energy,
    x: Tensor,
    hint: Any = None,
    limit: Tensor | None = None,
    *,
    rows: Tensor | None = None,
    nan: NaNPolicy = "raise",
) -> Evaluation:
    """Score ``x`` and check the answer.

    Rows whose energy exceeds ``limit float64 [chains]`` do not matter: once the partial sum of their terms plus the
    ``lower_bound`` of the others exceeds it, the others are skipped and count as ``+inf``; a term that ``stops_early``
    is given what the others leave of the limit. ``hint`` is what the proposal knows about ``x``; ``rows`` are the
    numbers that errors give to its rows. With ``nan="reject"`` NaN counts as ``+inf``.

    Raises ``EnergyError`` for NaN, ``-inf`` (no normalisable law has it), a wrong shape or type, or when the energy
    itself raises; the error names the rows and the term. ``TooManyNaN`` where more NaN are rejected than is safe.
    """
    if nan == "reject":
        energy = rejecting_nan(energy, NaNCount())
    if isinstance(energy, WeightedSum):
        return energy.evaluate(x, hint, limit, rows)
    ((_, term),) = parts_of(energy)
    values = checked_values(term, x, hint, rows=rows, limit=limit)
    return Evaluation(values, values.unsqueeze(1))


def evaluate_candidates(
    energy: Energy, x: Tensor, site: Tensor, values: Tensor, max_rows: int, possible: Tensor | None = None
) -> Evaluation:
    """Score ``x [chains, sites]`` with column ``site [chains]`` set to each of ``values [chains, K]``.

    ``energy`` is ``[chains, K]`` and ``terms`` ``[chains, K, terms]``. Candidates that are not ``possible``
    (``bool [chains, K]``, default all are) cost nothing and get ``+inf``; as in ``evaluate`` constraints are evaluated
    first, the others where these allow it. Calls are of at most ``max_rows`` rows, or of one chain for a term with a
    ``candidate_values`` of its own. Raises as ``evaluate`` does; the rows of an error are chains.
    """
    total = energy if isinstance(energy, WeightedSum) else WeightedSum(parts_of(energy))
    terms = torch.full((values.numel(), len(total.parts)), math.inf, dtype=torch.float64, device=x.device)
    wanted = torch.ones_like(values, dtype=torch.bool) if possible is None else possible
    for column, weight, part in in_order(total.parts):
        for numbers, real in rectangles(wanted, by_chain=part.shares_candidates, max_rows=max_rows):
            chains = numbers // values.shape[1]
            some, at, candidates = x[chains[:, 0]], site[chains[:, 0]], values.flatten()[numbers]
            counter = total.nan_counter(column)
            found = checked_values(
                part,
                replaced(some, at, candidates),
                weight=weight,
                rows=chains.flatten(),
                call=lambda part=part, some=some, at=at, candidates=candidates: (  # type: ignore[misc]
                    part.candidate_values(some, at, candidates).flatten()
                ),
                count_nan=None if counter is None else partial(counter, real=real.flatten()),
            )
            terms[numbers[real], column] = found.reshape(numbers.shape)[real]
        wanted = wanted & (terms[:, column] != math.inf).reshape(values.shape)
    energies = total.total(terms, x, candidates=values.shape[1])
    return Evaluation(energies.reshape(values.shape), terms.reshape(*values.shape, -1))


def rejecting_nan(energy: Energy, count: NaNCount) -> Energy:
    """``energy`` with the same terms, but ``+inf`` for NaN, whatever the weight; each is added to ``count``.

    The law sampled is then the target restricted to states whose energy is a number: a kernel with an accept step
    rejects the others, Gibbs gives them no weight. A kernel with ``no_accept_step`` would enter them, so ``sample`` and
    ``anneal`` refuse it. It is meant for steps alone, as a start must have a number; ``-inf`` is still an error.

    Cost: none, except for terms that raise for NaN themselves: the rest of their call is scored again.
    """
    return _RejectingNaN(energy, count)


def summed_like(energy: Energy, parts: list[tuple[float, EnergyTerm]]) -> WeightedSum:
    """The sum of ``parts``, which treats NaN as ``energy`` does."""
    total = WeightedSum(parts)
    return _RejectingNaN(total, energy.count) if isinstance(energy, _RejectingNaN) else total


class Evaluated(WeightedSum):
    """``energy``, whose evaluation of the states ``x`` is ``known`` and is not repeated for this tensor."""

    def __init__(self, energy: Energy, x: Tensor, known: Evaluation) -> None:
        super().__init__(parts_of(energy))
        self._energy, self._x, self._known = energy, x, known

    def evaluate(
        self, x: Tensor, hint: Any = None, limit: Tensor | None = None, rows: Tensor | None = None
    ) -> Evaluation:
        return self._known if x is self._x else evaluate(self._energy, x, hint, limit, rows=rows)


class _RejectingNaN(WeightedSum):
    def __init__(self, energy: Energy, count: NaNCount) -> None:
        super().__init__(parts_of(energy))
        self.count, self._summed = count, isinstance(energy, WeightedSum)
        self._first = next((column for column, _, part in in_order(self.parts) if not part.is_constraint), 0)

    def nan_counter(self, column: int) -> Callable[..., None]:
        return partial(self.count.add, term=self.parts[column][1].name, first=column == self._first)

    def evaluate(
        self, x: Tensor, hint: Any = None, limit: Tensor | None = None, rows: Tensor | None = None
    ) -> Evaluation:
        found = super().evaluate(x, hint, limit, rows)
        # A sum turns -0.0 into 0.0, and an energy that is no sum keeps its bits.
        return found if self._summed else Evaluation(found.terms[:, 0], found.terms)
