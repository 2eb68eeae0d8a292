"""Energies of the length of a text: bounds, a prior, and an energy per token."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import Constraint, Energy, EnergyTerm, InvalidInput, evaluate, named, term_names

__all__ = ["LengthPrior", "LengthRange", "PerToken"]


class LengthRange(Constraint):
    """0 nats for texts of ``low`` to ``high`` tokens, both included, ``+inf`` elsewhere.

    Raises ``InvalidInput`` unless ``1 <= low <= high``.
    """

    def __init__(self, space: TextSpace, low: int, high: int) -> None:
        if not 1 <= low <= high:
            raise InvalidInput(f"the length range is {low} to {high} tokens; give 1 <= low <= high")

        def fits(x: Tensor) -> Tensor:
            lengths = space.lengths(x)
            return (lengths >= low) & (lengths <= high)

        super().__init__("length", fits)
        self.low, self.high = low, high
        self.clause = f"of {low} to {high} tokens"


class LengthPrior(EnergyTerm):
    """``-log p(l)`` nats for a text of ``l`` tokens, ``p(l) = h(l) prod over k < l of (1 - h(k))``, ``l >= 1``.

    ``hazard`` maps lengths ``1, 2, ...`` (``float64 [n]``) to ``h``, the probability that a text which has reached
    that length stops there. The empty text has ``p = 0``. ``p`` is a distribution (its sum is 1) if ``sum h`` diverges.

    As a factor of a target over texts of every length it makes the target proper if it falls faster than the mass of
    the other factors rises: ``sum over l of p(l) S(l)`` must be finite, ``S(l)`` the sum of ``exp(-E)`` over the texts
    of ``l`` tokens. For ``p_LM ** gamma`` with ``gamma < 1``, ``S`` rises like ``c ** l``, usually with ``c > 1``: by
    itself it has no finite sum, and with a constant hazard ``h`` only where ``c (1 - h) < 1``. ``stopping`` suffices
    for every ``c``.

    Raises ``InvalidInput`` where a hazard is outside [0, 1].
    """

    name = "length prior"

    def __init__(self, space: TextSpace, hazard: Callable[[Tensor], Tensor]) -> None:
        self.space, self.hazard = space, hazard
        self._log_prob(1)

    @classmethod
    def stopping(cls, space: TextSpace, epsilon: float) -> LengthPrior:
        """``h(l) = 1 - (1 - epsilon) ** l``: ``p(l) = h(l) (1 - epsilon) ** (l (l - 1) / 2)``.

        The lower bound on stopping of a self-terminating language model (Welleck et al. 2020, arXiv:2002.02492). It
        falls faster than any ``c ** -l``, so it makes every target proper whose energy is bounded below by a multiple
        of the length. A larger ``epsilon`` gives shorter texts: the prior alone has its median near
        ``sqrt(1.4 / epsilon)`` tokens. Texts of more than about ``37 / epsilon`` tokens are forbidden, because ``h``
        rounds to 1 there. Raises ``InvalidInput`` for ``epsilon`` outside (0, 1).
        """
        if not 0 < epsilon < 1:
            raise InvalidInput(f"epsilon is {epsilon}; give a probability above 0 and below 1")
        return cls(space, lambda lengths: -torch.expm1(lengths * math.log1p(-epsilon)))

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return -self._log_prob(x.shape[1]).to(x.device)[self.space.lengths(x)]

    def _log_prob(self, width: int) -> Tensor:
        """``float64 [width + 1]``: log-probabilities of the lengths 0 to ``width``."""
        lengths = torch.arange(1, width + 1, dtype=torch.float64)
        hazard = torch.as_tensor(self.hazard(lengths), dtype=torch.float64)
        if bool((outside := ~((hazard >= 0) & (hazard <= 1))).any()):
            at = int(outside.nonzero()[0])
            raise InvalidInput(f"the hazard of length {at + 1} is {hazard[at]:g}; give a probability")
        reached = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-hazard).cumsum(0)[:-1]])
        return torch.cat([torch.full((1,), -math.inf, dtype=torch.float64), hazard.log() + reached])


class PerToken(EnergyTerm):
    """``energy / length`` in nats per token; the energy of an empty text is unchanged.

    A sum over tokens grows with the text, so at a given temperature the distribution is sharper on long texts than on
    short ones, and favours short ones. Per token it does neither, and temperatures are smaller by a factor of the
    length: the 0.03 with which Liu et al. 2020 (arXiv:1909.03588) anneal paraphrases is per token.
    ``exp(-E / length)`` has no finite sum over texts of all lengths, so bound the length or add a prior on it. Wrap
    terms one by one to see each in the output.
    """

    def __init__(self, energy: Energy, space: TextSpace) -> None:
        self.energy = energy if isinstance(energy, EnergyTerm) else named(term_names(energy)[0], energy)
        self.space, self.name, self.is_constraint = space, f"{self.energy.name} per token", self.energy.is_constraint

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return self.energy.expensive

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return min(0.0, self.energy.lower_bound)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return evaluate(self.energy, x, hint).energy / self._lengths(x)

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        return self.energy.candidate_values(x, site, values) / self._lengths(x).unsqueeze(1)

    def _lengths(self, x: Tensor) -> Tensor:
        return self.space.lengths(x).clamp(min=1)
