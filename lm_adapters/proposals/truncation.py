"""Temperature, top-k and top-p: from logits to the distribution that a proposal draws from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import at_least_float32
from samplers import InvalidInput
from samplers.randomness import Weights, cached_parts, joined

__all__ = ["Truncation"]


@dataclass(frozen=True)
class Truncation:
    """Temperature, then the ``top_k`` likeliest tokens, then the smallest nucleus of mass ``top_p``.

    The kept set depends only on the logits, and so on the masked context that both directions of a move share: a token
    outside it can neither be drawn nor replaced by that move (the reverse density is ``-inf``). The current token is
    not forced into it. With an accept step the target stays invariant, but a chain reaches only the texts that kept
    tokens connect.

    Raises ``InvalidInput`` for values out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidInput(f"temperature is {self.temperature}; give a finite number above 0")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidInput(f"top_k is {self.top_k}; give at least 1")
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p is {self.top_p}; give a number above 0 and at most 1")

    @property
    def changes(self) -> bool:
        """Whether the distribution of the kept tokens differs from the model's own."""
        return self.cuts or self.temperature != 1

    @property
    def cuts(self) -> bool:
        """Whether any token may be left out."""
        return self.top_k is not None or self.top_p < 1

    def scores(self, logits: Tensor, allowed: Tensor, forbidden: tuple[Tensor, int] | None = None) -> Tensor:
        """Log-weights ``[rows, vocabulary]`` from ``logits`` of that shape, ``-inf`` where a token is left out.

        Each row is correct up to a constant, in the precision of the logits, float32 at least. Tokens that are not
        ``allowed bool [vocabulary]`` are left out first, and with them one token that is ``forbidden`` in some rows
        (``bool [rows]`` and its id).
        """
        logits = at_least_float32(logits)
        # Adding a row is about five times as fast as a masked fill.
        scores = logits + torch.where(allowed, 0.0, -math.inf)
        if forbidden is not None:
            scores[forbidden[0], forbidden[1]] = -math.inf
        if self.temperature != 1:
            scores = scores / self.temperature
        if self.top_k is not None and self.top_k < scores.shape[1]:
            smallest_kept = scores.topk(self.top_k, dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < smallest_kept, -math.inf)  # ties are all kept
        if self.top_p < 1:
            ranked, order = scores.sort(dim=1, descending=True, stable=True)
            share = ranked.double().softmax(dim=1)
            beyond = share.cumsum(dim=1) - share >= self.top_p  # the token that crosses ``top_p`` is kept
            scores = scores.masked_fill(beyond.scatter(1, order, beyond), -math.inf)
        return scores

    def draw(
        self, logits: Tensor, allowed: Tensor, others: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a token for each row: ``int64 [rows]``, its log-probability and that of ``others``, ``float64 [rows]``.

        ``logits [rows, vocabulary]``, ``allowed bool [vocabulary]``, ``others int64 [rows]``; all in nats.
        """
        u = torch.rand(len(logits), dtype=torch.float64, device=logits.device, generator=rng)
        parts = []
        for part, quantile, other in zip(*map(cached_parts, (logits, u, others)), strict=True):
            weights = Weights(self.scores(part, allowed).softmax(dim=1))
            drawn = weights.at(quantile)
            parts.append((drawn, *weights.log_prob(torch.stack([drawn, other], dim=1)).unbind(dim=1)))
        drawn, log_prob, of_others = map(joined, zip(*parts, strict=True))
        return drawn, log_prob, of_others

    def sample(self, logits: Tensor, allowed: Tensor, rng: torch.Generator) -> Tensor:
        """``int64 [rows]``: the tokens of ``draw``, without their densities."""
        u = torch.rand(len(logits), dtype=torch.float64, device=logits.device, generator=rng)
        parts = zip(*map(cached_parts, (logits, u)), strict=True)
        return joined([Weights(self.scores(part, allowed).softmax(dim=1)).at(quantile) for part, quantile in parts])

    def log_prob(self, logits: Tensor, allowed: Tensor) -> Tensor:
        """``float64 [rows, vocabulary]`` in nats: the log-probability of every token that ``draw`` may return."""
        return self.scores(logits, allowed).double().log_softmax(dim=1)
