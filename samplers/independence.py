"""Whole states drawn from a distribution, whatever the old state is."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.drawing import draw
from samplers.errors import InvalidInput
from samplers.types import Distribution, Proposed

__all__ = ["IndependenceProposal"]


class IndependenceProposal:
    """``q(x' | x) = q(x')``, any distribution with ``sample`` and ``log_prob``, as ``torch.distributions`` has them.

    The ratio is ``q(x) / q(x')`` (Tierney 1994, Annals of Statistics 22, section 2.3.3). The density of the old state
    is kept as the proposal's ``memory``, so that a step costs a draw and the density of what was drawn; the draw alone
    where the distribution has ``sample_and_log_prob``, which may tell the energy too.

    Where ``q`` is near the target every accepted move is a fresh draw. A chain stays long at states that ``q`` draws
    seldom, in proportion to ``pi(x) / q(x)``, and for ever at those that it cannot draw: mix it with local moves, and
    take a wide ``q``. ``q`` draws states as wide as those of the chains.

    Raises ``InvalidInput`` for an object without ``sample`` and ``log_prob``.
    """

    move_names = ("independent",)

    def __init__(self, distribution: Distribution) -> None:
        if not (hasattr(distribution, "sample") and hasattr(distribution, "log_prob")):
            raise InvalidInput(
                f"a distribution needs sample(sample_shape) and log_prob(value); {distribution!r} does not have both"
            )
        self.distribution = distribution

    def memory(self, x: Tensor) -> Tensor:
        """``float64 [chains]``: ``log q(x)`` in nats."""
        return self.distribution.log_prob(x).double()

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        new, forward, hint = draw(self.distribution, len(x), rng)
        return Proposed(new, forward, self.memory(x) if memory is None else memory, hint=hint, memory=forward)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: ``log q(x_to)`` in nats."""
        return self.memory(x_to)
