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
from lm_adapters.proposals.truncation import Truncation
from samplers.randomness import categorical, log_share

__all__ = ["LeftToRightFill", "read_fill", "read_fill_log_prob"]


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
        return read_fill(self.reader, placed, placed == self.model.mask_id, rng, self.truncation)

    def _fill_log_prob(self, x: Tensor, free: Tensor) -> Tensor:
        return read_fill_log_prob(self.reader, x, free, self.truncation)


def read_fill(reader: Autoregressive, x: Tensor, free: Tensor, rng: torch.Generator, truncation: Truncation) -> Tensor:
    """``x int64 [rows, width]`` with its ``free bool [rows, width]`` tokens drawn one after the other."""
    x = x.masked_fill(free, int(reader.allowed.nonzero()[0]))  # any token: what is right of a site is not read
    for site in in_turn(free):
        logits = torch.cat(list(reader.logits(x, pad(site, (0, 1)))))
        x = x.masked_scatter(site, categorical(truncation.scores(logits, reader.allowed), rng))
    return x


def read_fill_log_prob(reader: Autoregressive, x: Tensor, free: Tensor, truncation: Truncation) -> Tensor:
    """``float64 [rows]`` in nats: of drawing the ``free`` tokens of ``x`` by ``read_fill``."""
    row, values, done = free.nonzero()[:, 0], x[free].unsqueeze(1), 0
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for logits in reader.logits(x, pad(free, (0, 1))):
        part = slice(done, done := done + len(logits))
        scores = truncation.scores(logits, reader.allowed)
        total.index_add_(0, row[part], log_share(scores, values[part]).squeeze(1))
    return total
