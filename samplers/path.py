"""The path of laws from a distribution that can be drawn from to the target, ``q^(1-t) exp(-t E)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from samplers.energy.evaluation import summed_like
from samplers.energy.terms import EnergyTerm, parts_of
from samplers.errors import InvalidInput
from samplers.types import Distribution, Energy

__all__ = ["Surprisal", "check_temperatures", "energy_and_log_q", "path_energy", "path_log_ratio"]


class Surprisal(EnergyTerm):
    """``-log q(x)`` of a distribution, in nats; ``+inf`` where it has no mass."""

    name = "-log q"
    expensive = True

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution

    @property
    def code(self) -> Callable[..., Any]:
        return self.distribution.log_prob

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return -self.distribution.log_prob(x)


def path_energy(energy: Energy, distribution: Distribution, t: float) -> Energy:
    """``t E - (1 - t) log q``, in nats, for ``0 < t <= 1``; at 1 the target itself."""
    if t == 1:
        return energy
    scaled = [(t * weight, part) for weight, part in parts_of(energy)]
    return summed_like(energy, [*scaled, (1 - t, Surprisal(distribution))])


def energy_and_log_q(terms: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """``E`` and ``log q``, ``float64 [chains]``, from the terms of ``path_energy`` at ``t < 1``."""
    return terms[:, :-1].sum(dim=1) / t, terms[:, -1] / (t - 1)


def path_log_ratio(energy: Tensor, log_q: Tensor, low: float, high: float, betas: Tensor) -> Tensor:
    """``float64 [rows]``: log of the law at ``high`` less that at ``low``, up to a constant, of states with these.

    Both to the power of beta, as kernels have it; at 0 it is ``q``, to no power. ``-inf`` for a forbidden state.
    """
    allowed = energy != math.inf
    ratio = (high - low) * (-energy.where(allowed, 0.0) - log_q) * betas
    if low == 0:
        ratio = ratio + (betas - 1) * log_q
    return ratio.where(allowed, -math.inf)


def check_temperatures(temperatures: Sequence[float]) -> list[float]:
    """Raise ``InvalidInput`` unless they are above 0 and rise to 1."""
    found = [float(t) for t in temperatures]
    if not found or found[-1] != 1 or not found[0] > 0 or not all(a < b for a, b in pairwise(found)):
        raise InvalidInput(f"temperatures is {found}; give numbers above 0 that rise to 1")
    return found
