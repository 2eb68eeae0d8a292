"""Texts redrawn from a random place on, with the exact density of the way back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_adapters.autoregressive import Autoregressive
from lm_adapters.sequence_distribution import SequenceDistribution
from lm_adapters.sequence_energy import TextHint
from lm_adapters.truncation import Truncation
from samplers import InvalidInput, Proposed
from samplers.randomness import draw_site

__all__ = ["SuffixProposal"]


class SuffixProposal:
    """Cut a text of ``l`` tokens at ``t``, uniform on ``0..l``, keep what is before and draw the rest anew.

    ``q(x', t | x) = 1 / (l + 1) * prod_{j >= t} p(x'_j | x'_<j)``, the end among the factors: a text can shrink and
    grow. The conditionals are those of ``SequenceDistribution``. The way back cuts at the same place of ``x'``, so
    detailed balance holds for each ``t`` by itself (Hastings 1970, Biometrika 57, section 2.2).

    Cost: one pass over the old texts for their density, and one pass a token drawn, of one token a text that goes on.
    The new texts' energy under the same model costs nothing besides: a hint tells it. States are at least
    ``max_length`` wide; a text longer than that is left as it is, which counts as rejected.
    """

    kinds = ("suffix",)

    def __init__(
        self, model: Autoregressive, *, min_length: int = 1, max_length: int, truncation: Truncation | None = None
    ) -> None:
        self.model = model
        self.distribution = SequenceDistribution(
            model, min_length=min_length, max_length=max_length, truncation=truncation
        )

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        longest = self.distribution.max_length
        if x.shape[1] < longest:
            raise InvalidInput(f"the states are {x.shape[1]} wide and max_length is {longest}; widen them to that")
        lengths = self.model.space.lengths(x)
        cut = draw_site(torch.arange(x.shape[1] + 1, device=x.device) <= lengths.unsqueeze(1), rng)
        new, drawn, old, nats = self.distribution.redraw(x, cut.clamp(max=longest), rng)
        stuck = lengths > longest
        return Proposed(
            x.where(stuck.unsqueeze(1), new),
            (drawn - (lengths + 1).double().log()).masked_fill(stuck, 0.0),
            (old - (self.model.space.lengths(new) + 1).double().log()).masked_fill(stuck, -math.inf),
            hint=TextHint(self.model, nats.masked_fill(stuck, math.nan)),
        )

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the density summed over every cut that can make the move."""
        return self.cut_log_probs(x_to, x_from).logsumexp(dim=1)

    def cut_log_probs(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains, width + 1]``: ``log q(x_to, t | x_from)`` of the move with its cut ``t``."""
        to, since = self.model.space.lengths(x_to), torch.zeros_like(x_to[:, 0])
        lengths = self.model.space.lengths(x_from)
        drawn = self.distribution.token_log_probs(x_to, since).flip(1).cumsum(dim=1).flip(1)
        same = (x_to == x_from).cumprod(dim=1).bool()
        kept = torch.nn.functional.pad(same, (1, 0), value=True)  # all before the cut
        cut = torch.arange(kept.shape[1], device=x_to.device)
        possible = kept & (cut <= torch.minimum(lengths, to).unsqueeze(1))
        stuck = (lengths > self.distribution.max_length).unsqueeze(1)
        drawn = torch.where(stuck, torch.where(same[:, -1:], 0.0, -math.inf), drawn)
        return drawn.masked_fill(~possible, -math.inf) - (lengths + 1).double().log().unsqueeze(1)
