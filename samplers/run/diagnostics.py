"""Convergence diagnostics of a scalar over chains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Diagnostics", "diagnose"]

Array = NDArray[np.float64]
AXES = {"chain_axis": 0, "draw_axis": 1}
HUGE = 1e100  # the squares of such numbers overflow
DEVIATIONS = 3  # standard deviations of the number of repeats among independent draws
CLOSE = 1e-4  # of a value and of the standard deviation: frequent values that are closer count as one
FREQUENT, FEWEST = 0.01, 5  # share of the draws, and their number
ROUNDING = 2e-6  # of the largest value: what a constant differs by where a model in float32 scores it again


@dataclass(frozen=True)
class Diagnostics:
    """Convergence diagnostics of a scalar: its mean, the Monte Carlo standard error of that, ESS, R-hat.

    ``r_hat`` is rank-normalised split R-hat, the larger of that of the values and that of their distances to the
    median (Vehtari et al. 2021, Bayesian Anal. 16). ``ess_bulk`` is the smaller of the effective sample sizes of the
    same two, and ``ess_tail`` that of the outer twentieths. Both are at most ``chains^2 / sum 1/n``, the draws that an
    average of the chains is worth if of each chain only the ``n`` draws count that were not the one before, kept again.
    So a chain that never moved counts as one draw, wherever it stands, and enters ``mcse`` as one. A model scores a
    text that comes back a millionth of a nat off; ranks would see that as they see a nat, so frequent values that are
    nearly the same count as one. NaN where a figure does not exist: fewer than four draws, or a constant.
    """

    mean: float
    mcse: float
    ess_bulk: float
    ess_tail: float
    r_hat: float


def diagnose(values: Tensor) -> Diagnostics:
    """Convergence diagnostics of a scalar ``[chains, kept]``."""
    array: Array = values.detach().double().cpu().numpy()
    if HUGE < (largest := float(np.abs(array).max(initial=0))) < math.inf:
        unit = largest / HUGE
        found = diagnose(values / unit)
        return replace(found, mean=found.mean * unit, mcse=found.mcse * unit)
    mean = float(array.mean()) if array.size else math.nan
    if array.shape[1] < 4 or not np.isfinite(array).all() or np.ptp(array) <= ROUNDING * largest:
        return Diagnostics(mean, math.nan, math.nan, math.nan, math.nan)
    array = _tied(array)
    from arviz_stats.base import array_stats  # type: ignore[attr-defined]

    def ess(method: str, **options: Any) -> float:
        return float(array_stats.ess(array, method=method, **AXES, **options))

    most = array.size / float((array.shape[1] / _counted(array)).mean())  # chains^2 / sum 1/n
    # The mean of draws that cancel out each other's errors is better than that of as many independent ones.
    least_error = float(array.std(ddof=1)) / math.sqrt(most) if most < array.size else 0.0
    # arviz-stats needs two chains for R-hat: a single one is cut into halves, which is what split R-hat compares.
    halves = array[:, : array.shape[1] // 2 * 2].reshape(2, -1) if len(array) == 1 else array
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that never move have no within-chain variance
        return Diagnostics(
            mean=mean,
            mcse=max(least_error, float(array_stats.mcse(array, method="mean", **AXES))),
            ess_bulk=min(most, ess("bulk"), ess("folded")),
            ess_tail=min(most, ess("tail", prob=(0.05, 0.95))),
            r_hat=float(array_stats.rhat(halves, method="rank", **AXES)),
        )


def _tied(array: Array) -> Array:
    """``array [chains, kept]``, its frequent values each replaced by the least of those within ``CLOSE`` below it.

    Those that are not frequent hardly move any rank, and close ones may be independent draws.
    """
    values, place, counts = np.unique(array, return_inverse=True, return_counts=True)
    spread, group = CLOSE * float(array.std()), []
    number, reach = -1, -math.inf
    for value in values.tolist():
        if value > reach:
            number, reach = number + 1, value + min(spread, CLOSE * abs(value))
        group.append(number)
    _, first = np.unique(group, return_index=True)
    frequent = np.bincount(group, weights=counts) >= max(FEWEST, FREQUENT * array.size)
    tied = np.where(frequent[group], values[first][group], values)
    found: Array = tied[place].reshape(array.shape)
    return found


def _counted(array: Array) -> Array:
    """``[chains]``: the draws of each chain that count, 1 for one that never moved.

    A step either redraws the value, perhaps as what it was, or stands still. From the number of repeats follows the
    share of steps that stood still, taken as 0 unless independent draws would hardly repeat so often.
    """
    chains, kept = array.shape
    _, value, everywhere = np.unique(array, return_inverse=True, return_counts=True)
    counted = np.full(chains, float(kept))
    for chain, row in enumerate(value.reshape(chains, kept)):
        _, place, here = np.unique(row, return_inverse=True, return_counts=True)
        elsewhere = everywhere[row] - here[place] if chains > 1 else everywhere[row]
        by_chance = elsewhere[:-1] / (array.size - kept if chains > 1 else array.size)
        excess = np.count_nonzero(row[1:] == row[:-1]) - float(by_chance.sum())
        if excess > DEVIATIONS * math.sqrt(float((by_chance * (1 - by_chance)).sum())):
            counted[chain] -= (kept - 1) * excess / (kept - 1 - float(by_chance.sum()))
    return counted
