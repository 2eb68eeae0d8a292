"""Texts of a distribution that hold what is locked, or have a length: drawn until one does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from samplers import Drawn, EnergyTerm, InvalidInput

__all__ = ["HeldTexts"]

TOGETHER = 4  # texts drawn in one pass for each that is still wanted


class HeldTexts:
    """``q(x)`` of a ``SequenceDistribution``, given that ``lock`` allows ``x``: ``tries`` draws at most.

    ``lock``: a ``Lock``, which allows texts that hold every piece, or another constraint, such as a ``LengthRange``
    (a ``SequenceDistribution`` with a ``min_length`` makes texts that would have ended before go on instead). Where
    none of the draws is allowed, the last one is returned. So the density of a text that is allowed is ``q(x)`` times
    a constant, ``(1 - (1 - s)^tries) / s`` for the share ``s`` of such texts, and ``log_prob`` leaves it out: the ratio
    of an ``IndependenceProposal`` and self-normalised weights do not depend on it, as long as ``lock`` is part of the
    target. What was returned and is not allowed is then rejected, whatever its density.

    Cost: ``tries`` texts at most for each, drawn together. Raises ``InvalidInput`` for ``tries`` below 1, and for a
    ``lock`` that is no constraint.
    """

    def __init__(self, distribution: SequenceDistribution, lock: EnergyTerm, tries: int = 8) -> None:
        if tries < 1:
            raise InvalidInput(f"tries is {tries}; give at least 1")
        if not lock.is_constraint:
            raise InvalidInput(f"lock is {lock.name!r}, which is no constraint; give one")
        self.distribution, self.lock, self.tries = distribution, lock, tries

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """``int64 [*sample_shape, max_length]``, drawn by torch's global generator."""
        x = self.sample_and_log_prob(math.prod(sample_shape)).x
        return x.reshape(*sample_shape, x.shape[1])

    def sample_and_log_prob(self, count: int) -> Drawn:
        """``count`` texts with their ``log_prob`` and a hint, as ``SequenceDistribution`` draws them."""
        missing, left = torch.arange(count), self.tries
        kept: list[Tensor] = []
        while left and (not kept or len(missing)):
            together = min(TOGETHER, left)
            drawn = self.distribution.sample_and_log_prob(len(missing) * together)
            found = self.allowed(drawn.x).reshape(len(missing), together)
            first = torch.where(found.any(dim=1), found.long().argmax(dim=1), together - 1)
            chosen = torch.arange(len(missing), device=first.device) * together + first
            new = [each[chosen] for each in (drawn.x, drawn.log_q, drawn.hint.nlls)]
            at = missing.to(first.device)
            kept = [old.index_copy(0, at, each) for old, each in zip(kept, new, strict=True)] if kept else new
            missing, left = missing[~found.any(dim=1).cpu()], left - together
        x, log_q, nlls = kept
        return Drawn(x, log_q, TextHint(self.distribution.model, nlls))

    def allowed(self, x: Tensor) -> Tensor:
        """``bool [rows]``: whether ``lock`` allows the texts ``x int64 [rows, width]``."""
        return self.lock(x) < math.inf

    def log_prob(self, x: Tensor) -> Tensor:
        """``float64 [...]`` in nats, up to a constant, for texts ``x int64 [..., width]`` that are allowed."""
        return self.distribution.log_prob(x)

    def mass(self, count: int, rng: torch.Generator) -> tuple[float, float]:
        """An estimate from ``count`` texts of the constant that ``log_prob`` leaves out, and its standard error.

        ``exp(log_prob)`` divided by it is the density of a text that is allowed.
        """
        device = self.distribution.model.allowed.device
        empty = torch.full((count, self.distribution.max_length), self.distribution.model.space.pad_id, device=device)
        drawn = self.distribution.redraw(empty, empty.new_zeros(count), rng, score_end=False).x
        share = int(self.allowed(drawn).sum()) / count
        error = math.sqrt(share * (1 - share) / count)
        return self._constant(share), (self._constant(share + error) - self._constant(max(0.0, share - error))) / 2

    def _constant(self, share: float) -> float:
        """Where so large a share of the texts is allowed."""
        return share / (1 - (1 - min(1.0, share)) ** self.tries) if share else 0.0
