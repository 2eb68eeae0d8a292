"""Whole texts that fit a template, its slots filled from left to right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lm_adapters.locks.template import Template
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.keyword_fill import (
    draw_masks,
    drawn_in_turns,
    global_generator,
    masks_log_prob,
    possible_texts,
    rows_of,
)
from lm_adapters.proposals.left_to_right_fill import read_fill, read_fill_log_prob
from lm_adapters.proposals.truncation import Truncation
from samplers import Drawn, EnergyTerm

__all__ = ["TemplateFill"]


class TemplateFill:
    """Slots of lengths drawn uniformly, and their tokens by ``model`` one after the other, left to right.

    ``q(x)``, up to a constant, is the product of the probability of each slot's length, and of each token given what is
    already there: both sides, for a masked model; what stands before it, where a ``reader`` is given, which must have
    the tokens of ``model``. A draw is rejected and repeated if its slots are found elsewhere than they were drawn (a
    slot repeats frozen text), or if one of ``constraints`` forbids it; the constant is the probability of not being
    rejected, of which ``mass`` is an estimate. A template that is one slot, ``"[MASK:6-12]"``, is a law of texts of
    these lengths.

    Cost: to draw, a pass for each free token, which tells the density too, and with a ``reader`` its own energy; to
    score as many, with a ``reader`` one.
    """

    def __init__(
        self,
        model: MaskedLM,
        lock: Template,
        *,
        reader: Autoregressive | None = None,
        truncation: Truncation | None = None,
        constraints: Sequence[EnergyTerm] = (),
    ) -> None:
        self.model, self.lock, self.reader = model, lock, reader
        self.truncation, self.constraints = truncation or Truncation(), constraints

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """``int64 [n, max_length]``, drawn by the device's global generator. Raises as ``draw`` does."""
        return self.draw(math.prod(sample_shape), global_generator(self.model.device))

    def sample_and_log_prob(self, count: int) -> Drawn:
        """``sample`` of ``count`` texts with their ``log_prob``, and with a ``reader`` its own ``-log p`` as a hint."""
        return self._drawn(count, global_generator(self.model.device))

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """``int64 [count, max_length]``. Raises ``InvalidInput`` if rejections do not end."""
        return self._drawn(count, rng).x

    def _drawn(self, count: int, rng: torch.Generator) -> Drawn:
        return drawn_in_turns(partial(self._kept, rng=rng), count, (self.lock, *self.constraints))

    def mass(self, count: int, rng: torch.Generator) -> tuple[float, float]:
        """An estimate from ``count`` texts of what ``exp(log_prob)`` adds up to, and its standard error."""
        share = len(self._kept(count, rng).x) / count
        return share, math.sqrt(share * (1 - share) / count)

    def log_prob(self, value: Tensor) -> Tensor:
        """``float64 [n]`` in nats, up to a constant, for ``value int64 [n, width]``; ``-inf`` if it is never drawn."""
        held, found = self.lock.search(value)
        total = torch.full((len(value),), -math.inf, dtype=torch.float64, device=value.device)
        rows = found.nonzero().squeeze(1)
        if len(rows):
            x = value[rows]
            free = self.model.space.is_token(x) & (held[rows] == 0)
            if self.reader is None:
                filled = masks_log_prob(self.model, x, free, self.truncation)
            else:
                filled = read_fill_log_prob(self.reader, x, free, self.truncation)
            total[rows] = filled - self._log_lengths
        return total

    @property
    def _log_lengths(self) -> float:
        """Log of the number of ways to choose lengths for the slots."""
        return sum(math.log(most - fewest + 1) for fewest, most in self.lock.slots)

    def _kept(self, count: int, rng: torch.Generator) -> Drawn:
        """Those of ``count`` draws that are not rejected."""
        counts = [
            [
                int(torch.randint(fewest, most + 1, (), generator=rng, device=rng.device))
                for fewest, most in self.lock.slots
            ]
            for _ in range(count)
        ]
        placed = self.lock.masks(counts, width=self.lock.max_length).to(self.model.device)
        free = placed == self.model.mask_id
        if self.reader is None:
            x, log_q, hint = draw_masks(self.model, placed, rng, self.truncation)
        else:
            x, log_q, hint = read_fill(self.reader, placed, free, rng, self.truncation)
        held, found = self.lock.search(x)
        where = self.model.space.is_token(x) & (held == 0)
        allowed = found & (where == free).all(dim=1) & possible_texts(self.constraints, x)
        return rows_of(Drawn(x, log_q - self._log_lengths, hint), allowed)
