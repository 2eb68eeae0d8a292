"""``-log p(x)`` of texts as a model writes them that is stopped after so many tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.models.autoregressive import Autoregressive
from samplers import EnergyTerm, InvalidInput

__all__ = ["StoppedEnergy"]


class StoppedEnergy(SequenceEnergy):
    """As ``SequenceEnergy``, but a text of ``max_length`` tokens is cut off there and needs no end.

    ``p`` is then a distribution over the texts of up to ``max_length`` tokens, and so is every power of it, whatever
    the model thinks of ends. ``SequenceEnergy`` with a bound on the length is another law: that of texts which the
    model itself ends in time. A longer text has ``+inf``.

    Cost: as ``SequenceEnergy``, but for candidates of one site, which share no prefix. Raises ``InvalidInput`` for a
    ``max_length`` below 1 or beyond the model.
    """

    candidate_values = EnergyTerm.candidate_values

    def __init__(self, model: Autoregressive, max_length: int, name: str = "nll") -> None:
        if not 1 <= max_length <= model.max_length:
            raise InvalidInput(f"max_length is {max_length}, the model takes {model.max_length} tokens; give 1 to that")
        super().__init__(model, name)
        self.max_length = max_length

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        lengths = self._checked_lengths(x)
        if isinstance(hint, TextHint) and hint.model is self.model:
            endless = torch.full_like(hint.nlls, math.nan) if hint.endless is None else hint.endless
            total = hint.nlls.where(lengths < self.max_length, endless)
            rows = total.isnan().nonzero().squeeze(1)
            if len(rows):
                total[rows] = self.token_terms(x[rows]).sum(dim=1)
        else:
            total = self.token_terms(x).sum(dim=1)
        return total.masked_fill(lengths > self.max_length, math.inf)

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width + 1]`` in nats: ``-log p`` of each token, then of the end; 0 after that."""
        terms = super().token_terms(x)
        cut_off = (self.model.space.lengths(x) >= self.max_length).unsqueeze(1)
        column = torch.arange(terms.shape[1], device=x.device)
        return terms.masked_fill(cut_off & (column >= self.max_length), 0.0)
