"""Texts written on from a place of their own each, one token after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lm_adapters.autoregressive import ended
from lm_adapters.passes import passes
from lm_adapters.prefixes import Prefixes

if TYPE_CHECKING:
    from lm_adapters.sequence_distribution import SequenceDistribution

__all__ = ["Redrawn", "redraw"]

DENSE = 0.75  # share of rows still being written below which the others are taken out of the pass


class Redrawn(NamedTuple):
    """``x``: the new texts. ``float64 [rows]`` each: log-densities of what was ``drawn`` and of the ``old`` text from
    the same place on, and ``nats``, the new text's ``-log p`` by the model.
    """

    x: Tensor
    drawn: Tensor
    old: Tensor
    nats: Tensor


def redraw(law: SequenceDistribution, x: Tensor, cut: Tensor, noise: Tensor, score: bool, rows: Tensor) -> Redrawn:
    """``law.redraw`` of the given ``rows``, by the quantiles ``noise [all rows, max_length]``."""
    widths = (law.model.space.lengths(x[rows]) if score else cut[rows]) + 1
    parts = list(passes(widths, law.model.tokens_per_pass))
    order = torch.cat(parts)
    rows = rows[order]
    begun = [_begin(law, x[part], cut[part], score) for part in rows.split([len(part) for part in parts])]
    logits, old, before = (torch.cat(column) for column in zip(*(each[:3] for each in begun), strict=True))
    x, cut, noise = x[rows], cut[rows], noise[rows]
    kept_text = torch.arange(x.shape[1], device=x.device) < cut.unsqueeze(1)
    pen = _Pen(law, x.where(kept_text, law.model.space.pad_id), cut, noise, score)
    pen.write([logits], Prefixes.join([each[3] for each in begun]))
    return Redrawn(*(column[order.argsort()] for column in (pen.x, pen.drawn, old, before + pen.nats)))


def _begin(law: SequenceDistribution, x: Tensor, cut: Tensor, score: bool) -> tuple[Tensor, Tensor, Tensor, Prefixes]:
    """Logits of the token at each cut, the old text's log-density from there on and the nats of what is before it, and
    the prefixes, by one pass.
    """
    columns = torch.arange(x.shape[1] + 1, device=x.device)
    here = columns == cut.unsqueeze(1)
    at_cut: list[Tensor] = []
    if not score:
        logits, kept = law.model.read(x, here)
        at_cut.extend(logits)
        old = before = torch.full(cut.shape, math.nan, dtype=torch.float64, device=x.device)
    else:
        wanted = columns <= torch.maximum(cut, law.model.space.lengths(x)).unsqueeze(1)
        logits, kept = law.model.read(x, wanted)
        old, before = _told(law, x, cut, wanted, _keeping(logits, here[wanted], at_cut))
    return torch.cat(at_cut), old, before, kept.take(torch.arange(len(x), device=x.device), cut)


def _keeping(logits: Iterable[Tensor], wanted: Tensor, kept: list[Tensor]) -> Iterator[Tensor]:
    """The parts of ``logits [rows, vocabulary]``; their ``wanted bool [rows]`` rows are ``kept``."""
    start = 0
    for part in logits:
        kept.append(part[wanted[start : start + len(part)]])
        start += len(part)
        yield part


def _told(
    law: SequenceDistribution, x: Tensor, cut: Tensor, wanted: Tensor, logits: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The old text's log-density from the cut on, and the nats of what is before it, ``float64 [rows]`` each."""
    rows, column = wanted.nonzero(as_tuple=True)
    _, log_prob, nats = law.told(logits, column, tokens=ended(law.model, x)[wanted])
    kept, drawn = column < cut[rows], (column >= cut[rows]) & (column < law.max_length)
    zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    return zeros.index_add(0, rows, log_prob.where(drawn, 0.0)), zeros.index_add(0, rows, nats.where(kept, 0.0))


class _Pen:
    """Texts that are being written, and what is told of the tokens that were."""

    def __init__(self, law: SequenceDistribution, x: Tensor, cut: Tensor, noise: Tensor, score: bool) -> None:
        self.law, self.x, self.cut, self.noise, self.score = law, x, cut, noise, score
        self.drawn = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self.nats = torch.zeros_like(self.drawn)

    def write(self, logits: Iterable[Tensor], kept: Prefixes) -> None:
        """``logits [rows, vocabulary]`` of the token at each cut; ``kept`` is what stands before it."""
        law = self.law
        rows, place = torch.arange(len(self.x), device=self.x.device), self.cut
        slot = rows  # of ``kept``, where texts that are done may still lie
        while True:
            token = self._next(rows, place, logits)
            last = law.max_length if self.score else law.max_length - 1
            goes_on = (token != law.model.eos_id) & (place < last)
            rows, slot, token, place = rows[goes_on], slot[goes_on], token[goes_on], place[goes_on] + 1
            if not len(rows):
                return
            if len(rows) < DENSE * len(kept):
                kept, slot = kept.take(slot), torch.arange(len(rows), device=rows.device)
            read = torch.full_like(kept.counts, law.model.eos_id).index_copy_(0, slot, token)
            wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot, True)
            logits, kept = law.model.extend(kept, read.unsqueeze(1), wanted.unsqueeze(1))

    def _next(self, rows: Tensor, place: Tensor, logits: Iterable[Tensor]) -> Tensor:
        """``int64 [rows]``: what is drawn at ``place``, the end included, and put down."""
        u = self.noise[rows, place.clamp(max=self.law.max_length - 1)]
        token, log_prob, own = self.law.told(logits, place, u=u)
        self.drawn[rows] += log_prob
        self.nats[rows] += own
        text = token != self.law.model.eos_id
        self.x[rows[text], place[text]] = token[text]
        return token
