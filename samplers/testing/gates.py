"""Statistics of counts and the gates that they must stay under: bounds that hold for every sample size.

Each test has a false-failure probability of at most ``ALPHA`` on a fresh seed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from samplers.errors import McmcTextError

__all__ = [
    "ALPHA",
    "T_GATE",
    "InvalidTest",
    "kl_gate",
    "kl_statistic",
    "log_binomial_p",
    "pair_gate",
    "pair_statistic",
    "pool",
]

ALPHA = 1e-9
MIN_EXPECTED = 20.0
T_GATE = 6.35
"""Two-sided gate of Student's t with 255 degrees of freedom (256 independent values) at ``ALPHA``."""


class InvalidTest(McmcTextError):
    """A test has too few draws to see anything: the smallest expected count is below 20."""


@lru_cache(maxsize=4096)
def kl_gate(cells: int, alpha: float = ALPHA) -> float:
    """The ``t`` above which ``n * KL(observed, true)`` lies with probability at most ``alpha``, for every ``n``.

    Solves ``exp(-t) (e t / (cells-1))^(cells-1) = alpha``. Agrawal 2020, IEEE Trans. IT 66, arXiv:1904.02291,
    theorem 1.2: the statistic's moment generating function is at most that of a Gamma(cells - 1).
    """
    free = cells - 1
    if free == 0:
        return 0.0
    low, high = float(free), free + 10 * (free + math.log(1 / alpha))
    for _ in range(200):
        middle = (low + high) / 2
        log_bound = -middle + free * (1 + math.log(middle / free))
        low, high = (middle, high) if log_bound > math.log(alpha) else (low, middle)
    return high


def kl_statistic(counts: Tensor, probabilities: Tensor) -> float:
    """``n * KL`` of ``counts [cells]`` to ``probabilities [cells]``; infinite if a cell of probability 0 was hit.

    Raises ``InvalidTest`` when the smallest expected count of a possible cell is below 20.
    """
    counts, possible = counts.double(), probabilities > 0
    if bool((counts[~possible] > 0).any()):
        return math.inf
    expected = counts.sum() * probabilities[possible]
    if float(expected.min()) < MIN_EXPECTED:
        raise InvalidTest(
            f"the smallest expected count is {float(expected.min()):.3g}, below {MIN_EXPECTED:g}; take more draws"
        )
    seen = counts[possible]
    if len(seen) == 1:
        return 0.0
    return max(0.0, float(torch.xlogy(seen, seen / expected).sum()))


def pool(counts: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Possible cells too rare for the draws become one cell, chosen by ``probabilities`` alone; impossible ones stay.

    Should that cell be too rare itself, it takes in the rarest of the others.
    """
    draws = float(counts.sum())
    order = probabilities.argsort()
    order = order[probabilities[order] > 0]
    rare = probabilities[order] * draws < MIN_EXPECTED
    size = int(rare.sum())
    if size and float(probabilities[order[:size]].sum()) * draws < MIN_EXPECTED:
        size += 1
    merged, kept = order[:size], torch.cat([order[size:], (~(probabilities > 0)).nonzero().squeeze(1)])
    if not size:
        return counts, probabilities
    return (
        torch.cat([counts[kept], counts[merged].sum().reshape(1)]),
        torch.cat([probabilities[kept], probabilities[merged].sum().reshape(1)]),
    )


@lru_cache(maxsize=65536)
def log_binomial_p(larger: int, total: int) -> float:
    """Log of the exact two-sided p-value of ``larger`` heads (at least half) in ``total`` tosses of a fair coin."""
    heads = torch.arange(larger, total + 1, dtype=torch.float64)
    size = torch.tensor(float(total), dtype=torch.float64)
    log_ways = torch.lgamma(size + 1) - torch.lgamma(heads + 1) - torch.lgamma(size - heads + 1)
    return min(0.0, float(torch.logsumexp(log_ways, dim=0)) + (1 - total) * math.log(2))


def pair_statistic(transitions: Tensor) -> float:
    """``-log p`` of the least symmetric pair of ``transitions int64 [states, states]``: exact binomial(n, 1/2).

    Under reversibility and an exact start ``N_ij`` and ``N_ji`` are exchangeable.
    """
    there = transitions.triu(1)
    back = transitions.T.triu(1)
    larger, total = torch.maximum(there, back), there + back
    seen = total > 0
    pairs = set(zip(larger[seen].tolist(), total[seen].tolist(), strict=True))
    return max((-log_binomial_p(*pair) for pair in pairs), default=0.0)


def pair_gate(states: int, alpha: float = ALPHA) -> float:
    """Bonferroni over the ``states (states - 1) / 2`` pairs, fixed before the data."""
    return math.log(states * (states - 1) / 2 / alpha)
