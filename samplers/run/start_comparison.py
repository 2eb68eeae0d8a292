"""Whether chains that started low and chains that started high have come to agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.run.diagnostics import diagnose

__all__ = ["StartComparison", "compare_starts", "two_sided_p"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Groups = NDArray[np.int64]
LARGEST = 1e150  # whose square is a number


@dataclass(frozen=True)
class StartComparison:
    """Means of a scalar over the chains that started ``below`` and over those that started ``above``, with errors.

    ``below_mcse`` and ``above_mcse`` are Monte Carlo standard errors, ``difference`` is ``above - below``, and
    ``standard_errors`` says how many of its own standard errors that is. ``p_value``: how often chains that have
    forgotten their starts differ so much or more (two-sided t-test over the means of chains); NaN for fewer than four
    comparable chains, whose errors are those of ``diagnose``. ``left``: the difference in the later half of the draws,
    as a share of that in the earlier half.
    """

    below: float
    below_mcse: float
    above: float
    above_mcse: float
    difference: float
    standard_errors: float
    p_value: float
    left: float


def compare_starts(values: Tensor, from_below: Tensor, groups: Sequence[int] | None = None) -> StartComparison | None:
    """Compare the means of a scalar ``[chains, kept]`` between the chains ``from_below bool [chains]`` and the others.

    Chains with different ``groups`` (a number for each) have laws of their own: only groups that have chains of both
    kinds count, each with its share of the chains.

    The unit is the mean of a chain: these are independent, however slowly each chain moves, so that the test keeps its
    level where effective sample sizes are too few to be estimated. Their variance is pooled over all chains, after the
    means of groups and of both kinds are taken out (analysis of variance of two ways without interaction).

    ``None`` where no two chains can be compared, or a value or its square is infinite. Raises ``InvalidInput`` for
    other shapes.
    """
    if values.dim() != 2 or from_below.shape != values.shape[:1]:
        raise InvalidInput(
            f"values have shape {list(values.shape)} and from_below {list(from_below.shape)}; give [chains, kept] and "
            "[chains]"
        )
    array: Array = values.detach().double().cpu().numpy()
    below: Flags = from_below.cpu().numpy()
    group: Groups = np.asarray(groups if groups is not None else [0] * len(array))
    both = [g for g in np.unique(group) if len(set(below[group == g])) == 2]
    chosen = np.isin(group, both)
    if not both or not array.shape[1] or not (np.abs(array) < LARGEST).all():
        return None
    array, below, group = array[chosen], below[chosen], group[chosen]
    half = array.shape[1] // 2
    lows, highs = _means(array, below, group)
    variance, freedom = _variance(array.mean(axis=1), below, group)
    low_error, high_error = (
        _error(variance, kind, group) if freedom >= 2 else _error_of_draws(array, kind, group)
        for kind in (below, ~below)
    )
    difference, error = highs - lows, math.hypot(low_error, high_error)
    apart = difference / error if error else math.copysign(math.inf, difference) if difference else 0.0
    early, late = (_gap(part, below, group) for part in (array[:, :half], array[:, half:]))
    return StartComparison(
        below=lows,
        below_mcse=low_error,
        above=highs,
        above_mcse=high_error,
        difference=difference,
        standard_errors=apart,
        p_value=two_sided_p(apart, freedom) if freedom >= 2 else math.nan,
        left=late / early if early else math.nan,
    )


def two_sided_p(t: float, freedom: int) -> float:
    """Of Student's t with a whole number of degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    if math.isnan(t) or math.isinf(t):
        return math.nan if math.isnan(t) else 0.0
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= math.cos(angle) ** 2 * (power - 1) / power
        total += term
    inside = math.sin(angle) * total
    return max(0.0, 1 - (2 / math.pi * (angle + inside) if odd else inside))


def _shares(group: Groups) -> Iterator[tuple[Flags, float]]:
    """The chains of each group, ``bool [chains]``, and their share of all."""
    for g in np.unique(group):
        yield group == g, float((group == g).mean())


def _means(array: Array, below: Flags, group: Groups) -> tuple[float, float]:
    """Of both kinds of chain, each group counted by its share of all chains."""
    lows, highs = (
        sum(share * float(array[members & kind].mean()) for members, share in _shares(group))
        for kind in (below, ~below)
    )
    return lows, highs


def _gap(array: Array, below: Flags, group: Groups) -> float:
    if not array.size:
        return math.nan
    lows, highs = _means(array, below, group)
    return highs - lows


def _variance(means: Array, below: Flags, group: Groups) -> tuple[float, int]:
    """Of the means of chains around what group and kind explain, and its degrees of freedom."""
    columns = np.stack([*(members for members, _ in _shares(group)), below], axis=1).astype(float)
    freedom = len(means) - columns.shape[1]
    if freedom < 1:
        return math.nan, freedom
    centred = means - means.mean()
    fitted, *_ = np.linalg.lstsq(columns, centred, rcond=None)
    return float(((centred - columns @ fitted) ** 2).sum()) / freedom, freedom


def _error(variance: float, kind: Flags, group: Groups) -> float:
    """Standard error of the mean over one kind of chain."""
    return math.sqrt(variance * sum(share**2 / int((members & kind).sum()) for members, share in _shares(group)))


def _error_of_draws(array: Array, kind: Flags, group: Groups) -> float:
    """The same where there are too few chains to see how far their means spread."""
    return math.hypot(
        *(share * diagnose(torch.from_numpy(array[members & kind])).mcse for members, share in _shares(group))
    )
