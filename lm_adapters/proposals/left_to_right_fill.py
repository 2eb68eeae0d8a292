"""Whole texts that hold the keywords by construction, filled by a model that reads from left to right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.keyword_fill import KeywordFill, in_turn
from samplers.randomness import categorical, log_share

__all__ = ["LeftToRightFill"]


class LeftToRightFill(KeywordFill):
    """As ``KeywordFill``, but each free token is drawn by ``reader``, given what stands before it.

    The keywords are no surprise to it, so its log weight against the same model's ``SequenceEnergy`` is the
    log-probability of the keywords and of the end where they stand, up to a constant: what sequential Monte Carlo
    brings in by and by. ``model`` places the keywords and has the tokens of ``reader``.

    Cost: to draw, a pass for each free token; to score, one pass.
    """

    def __init__(self, reader: Autoregressive, model: MaskedLM, lock: Keywords, **options: Any) -> None:
        super().__init__(model, lock, **options)
        self.reader = reader

    def _fill(self, placed: Tensor, rng: torch.Generator) -> Tensor:
        free = placed == self.model.mask_id
        x = placed.masked_fill(free, int(self.reader.allowed.nonzero()[0]))  # any token: what is right is not read
        for site in in_turn(free):
            logits = torch.cat(list(self.reader.logits(x, pad(site, (0, 1)))))
            x = x.masked_scatter(site, categorical(self.truncation.scores(logits, self.reader.allowed), rng))
        return x

    def _fill_log_prob(self, x: Tensor, free: Tensor) -> Tensor:
        row, values, done = free.nonzero()[:, 0], x[free].unsqueeze(1), 0
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for logits in self.reader.logits(x, pad(free, (0, 1))):
            part = slice(done, done := done + len(logits))
            scores = self.truncation.scores(logits, self.reader.allowed)
            total.index_add_(0, row[part], log_share(scores, values[part]).squeeze(1))
        return total
