"""A power of a model's law over texts, drawn by populations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_adapters.drawing.continuation import Continuation
from lm_adapters.drawing.stopped_energy import StoppedEnergy
from samplers import PopulationDied, PopulationDraw
from samplers.randomness import systematic

__all__ = ["PowerDistribution"]


class PowerDistribution:
    """``p(x)^power`` over texts of bounded length, as a ``continuation`` grows them from nothing: where ``smc`` begins.

    ``log_prob`` is ``-power`` times the ``StoppedEnergy``, not normalised; the estimate of its sum over all texts is
    without bias. With the grammar of the ``continuation`` all texts are those that match it. Particles of one
    population depend on each other and follow the law as their number grows: for rejection or importance sampling they
    are no proposal.
    """

    def __init__(self, continuation: Continuation) -> None:
        self.continuation = continuation
        self._energy = StoppedEnergy(continuation.model, continuation.max_length)

    def draw_population(self, count: int, rng: torch.Generator) -> PopulationDraw:
        """``count`` texts of equal weight. See ``samplers.smc``.

        Their ancestors are the whole texts that were grown, before they are drawn by weight: one that is left means
        that one weight is as large as all others together. The beginnings that they grew from are no measure: of the
        first tokens one is left in the end, however good the weights. By how much of ``Z`` that cost is told by how far
        populations differ.

        Raises ``PopulationDied`` where none of them matches the grammar of the ``continuation``.
        """
        how = self.continuation
        x = torch.full((1, how.max_length), how.model.space.pad_id, device=how.model.allowed.device)
        grown = how.grow(x, x.new_zeros(1), count, rng)
        if not bool((grown.log_weights > -math.inf).any()):
            raise PopulationDied(
                f"none of {count} texts of up to {how.max_length} tokens matched the grammar; allow more tokens, or "
                "draw larger populations"
            )
        rows = systematic(grown.log_weights, rng)
        log_z = float(grown.log_weights.logsumexp(dim=0)) - math.log(count)
        return PopulationDraw(grown.x[rows], log_z, rows)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """``int64 [*sample_shape, max_length]``: one population, drawn by torch's global generator."""
        count = math.prod(sample_shape)
        x = self.draw_population(count, torch.default_generator).x
        return x.reshape(*sample_shape, x.shape[1])

    def log_prob(self, x: Tensor) -> Tensor:
        """``float64 [rows]`` in nats, up to a constant; ``-inf`` for a text that is never drawn."""
        how, space = self.continuation, self.continuation.model.space
        lengths = space.lengths(x)
        drawable = (how.model.allowed[x] | ~space.is_token(x)).all(dim=1)
        drawable &= (lengths >= how.min_length) & (lengths <= how.max_length)
        if how.following is not None:
            drawable &= how.following.is_match(x)
        return (-how.power * self._energy(x)).masked_fill(~drawable, -math.inf)
