"""A token drawn among the allowed ones by trying, without a mask of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Accepted", "accepted"]


class Accepted(NamedTuple):
    """A ``token``, -1 where none is allowed, the log of an estimate of the allowed mass, and how many were tried."""

    token: int
    log_mass: float
    tried: int


def accepted(shares: NDArray[np.float64], is_allowed: Callable[[int], bool], rng: np.random.Generator) -> Accepted:
    """Draw from ``shares [vocabulary]``, which add up to 1, given ``is_allowed(token)``.

    Tokens are drawn and tried; those that are not allowed are drawn no more. The first allowed one is the draw. Then
    the same goes on until a second one is allowed, the first being possible again. With ``r_i`` the mass that was left
    after ``i`` refused tokens, of ``m`` in all, the estimate of the allowed mass ``Z`` is ``1 / sum_{i=0..m} 1 / r_i``.
    Its mean is ``Z``, whatever token was drawn: ``r_0 = 1``, so the first try is allowed with probability ``Z``, and
    given the tokens refused the first of the two accepted came after the ``i``-th of them with probability in
    proportion to ``1 / r_i``; this is the conditional probability of ``i = 0``.

    The scheme is that of adaptive weighted rejection sampling, Lipkin et al. 2025, arXiv:2504.05410. It pays where few
    tokens are refused and a mask is dear. Each token is tried once.
    """
    left, known = shares.copy(), dict[int, bool]()
    masses, drawn = [1.0], -1
    while True:
        running = left.cumsum()
        if not running[-1] > 0:
            return Accepted(-1, -math.inf, len(known))
        token = int(np.searchsorted(running, rng.random() * running[-1], side="right"))
        token = min(token, int(np.flatnonzero(left)[-1]))  # the last running sums may be equal
        if token not in known:
            known[token] = is_allowed(token)
        if not known[token]:
            left[token] = 0.0
            masses.append(float(left.sum()))
        elif drawn < 0:
            drawn = token
        else:
            break
    return Accepted(drawn, -math.log(sum(1 / mass for mass in masses)), len(known))
