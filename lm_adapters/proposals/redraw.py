"""Texts written on from a place of their own each, one token after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lm_adapters.forward.batching import passes
from lm_adapters.forward.kv_cache import Prefixes

if TYPE_CHECKING:
    from lm_adapters.proposals.sequence_distribution import SequenceDistribution

__all__ = ["Redrawn", "redraw"]

DENSE = 0.75  # share of rows still being written below which the others are taken out of the pass


class Redrawn(NamedTuple):
    """``x``: the new texts. ``scores``: as ``SequenceDistribution.token_scores``, of what was drawn; 0 before."""

    x: Tensor
    scores: Tensor


def redraw(law: SequenceDistribution, x: Tensor, cut: Tensor, noise: Tensor, nats: bool, rows: Tensor) -> Redrawn:
    """``law.redraw`` of the given ``rows``, by the quantiles ``noise [all rows, max_length]``."""
    parts = list(passes(cut[rows] + 1, law.model.tokens_per_pass))
    order = torch.cat(parts)
    rows = rows[order]
    x, cut, noise = x[rows], cut[rows], noise[rows]
    pen = _Decoder(law, x, cut, noise, nats)
    pen.write(*pen.begin([len(part) for part in parts]))
    back = order.argsort()
    return Redrawn(pen.x[back], pen.scores[back].transpose(1, 2))


class _Decoder:
    """Texts ``x [rows, width]`` that are written on from ``cut [rows]``, and the ``scores [rows, width + 1, 2]``."""

    def __init__(self, law: SequenceDistribution, x: Tensor, cut: Tensor, noise: Tensor, nats: bool) -> None:
        before = torch.arange(x.shape[1], device=x.device) < cut.unsqueeze(1)
        self.law, self.cut, self.noise = law, cut, noise
        self.last = law.max_length if nats else law.max_length - 1
        self.x = x.where(before, law.model.space.pad_id)
        self.scores = torch.zeros((len(x), x.shape[1] + 1, 2), dtype=torch.float64, device=x.device)

    def begin(self, parts: list[int]) -> tuple[Tensor, Prefixes]:
        """The first token of each text, and what stands before it, read in passes of so many rows."""
        tokens, kept = [], []
        columns = torch.arange(self.x.shape[1] + 1, device=self.x.device)
        for rows in torch.arange(len(self.x), device=self.x.device).split(parts):
            cut = self.cut[rows]
            logits, read = self.law.model.read(self.x[rows], columns == cut.unsqueeze(1))
            tokens.append(self._next(rows, cut, logits))
            kept.append(read.take(torch.arange(len(rows), device=rows.device), cut))
        return torch.cat(tokens), Prefixes.join(kept)

    def write(self, token: Tensor, kept: Prefixes) -> None:
        """All that follows the first tokens; ``kept`` is what stands before these."""
        law, place = self.law, self.cut
        rows = torch.arange(len(self.x), device=self.x.device)
        slot = rows  # of ``kept``, where texts that are done may still lie
        while True:
            going = ((token != law.model.eos_id) & (place < self.last)).nonzero().squeeze(1)
            rows, slot, token, place = rows[going], slot[going], token[going], place[going] + 1
            if not len(rows):
                return
            if len(rows) < DENSE * len(kept):
                kept, slot = kept.take(slot), torch.arange(len(rows), device=rows.device)
            read = torch.full_like(kept.counts, law.model.eos_id).index_copy_(0, slot, token)
            wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot, True)
            logits, kept = law.model.extend(kept, read.unsqueeze(1), wanted.unsqueeze(1))
            token = self._next(rows, place, logits)

    def _next(self, rows: Tensor, place: Tensor, logits: Iterable[Tensor]) -> Tensor:
        """``int64 [rows]``: what is drawn at ``place``, the end included, and put down."""
        u = self.noise[rows, place.clamp(max=self.law.max_length - 1)]
        token, *told = self.law.told(logits, place, u=u)
        self.scores[rows, place] = torch.stack(told, dim=1)
        text = token != self.law.model.eos_id
        self.x[rows[text], place[text]] = token[text]
        return token
