"""Continue texts, each from its own place, one token after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lm_adapters.forward.batching import passes
from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.proposals.token_distribution import TokenDistribution

__all__ = ["Redrawn", "redraw"]

DENSE = 0.75  # where fewer of a pass's rows are still being written, finished ones are removed from it


class Redrawn(NamedTuple):
    """New texts, and what was drawn in nats.

    x
        ``int64 [rows, width]``.
    scores
        ``float64 [rows, 2, width + 1]``: ``SequenceDistribution.token_scores`` from the cut on, 0 before it.
    """

    x: Tensor
    scores: Tensor


def redraw(
    law: TokenDistribution[Autoregressive], x: Tensor, cut: Tensor, noise: Tensor, score_end: bool, rows: Tensor
) -> Redrawn:
    """``SequenceDistribution.redraw`` of the given ``rows``, by the quantiles ``noise [all rows, max_length]``."""
    parts = list(passes(cut[rows] + 1, law.model.tokens_per_pass))
    order = torch.cat(parts)
    rows = rows[order]
    decoder = _Decoder(law, x[rows], cut[rows], noise[rows], score_end)
    decoder.write(*decoder.begin([len(part) for part in parts]))
    back = order.argsort()
    return Redrawn(decoder.x[back], decoder.scores[back].transpose(1, 2))


class _Decoder:
    """Continues texts ``x [rows, width]`` from ``cut [rows]`` on and keeps ``scores [rows, width + 1, 2]``."""

    def __init__(
        self, law: TokenDistribution[Autoregressive], x: Tensor, cut: Tensor, noise: Tensor, score_end: bool
    ) -> None:
        before = torch.arange(x.shape[1], device=x.device) < cut.unsqueeze(1)
        self.law, self.cut, self.noise = law, cut, noise
        self.last = law.max_length if score_end else law.max_length - 1
        self.x = x.where(before, law.model.space.pad_id)
        self.scores = torch.zeros((len(x), x.shape[1] + 1, 2), dtype=torch.float64, device=x.device)

    def begin(self, parts: list[int]) -> tuple[Tensor, Prefixes]:
        """Draw the first token of each text, and read what is before it, in passes of so many rows."""
        tokens, prefixes = [], []
        columns = torch.arange(self.x.shape[1] + 1, device=self.x.device)
        for rows in torch.arange(len(self.x), device=self.x.device).split(parts):
            cut = self.cut[rows]
            logits, read = self.law.model.read(self.x[rows], columns == cut.unsqueeze(1))
            tokens.append(self._next(rows, cut, logits))
            prefixes.append(read.take(torch.arange(len(rows), device=rows.device), cut))
        return torch.cat(tokens), Prefixes.join(prefixes)

    def write(self, token: Tensor, before: Prefixes) -> None:
        """Draw all that follows the first tokens; ``before`` is what precedes these."""
        law, place = self.law, self.cut
        rows = torch.arange(len(self.x), device=self.x.device)
        slot = rows  # of ``before``, which may still hold texts that are finished
        while True:
            unfinished = ((token != law.model.eos_id) & (place < self.last)).nonzero().squeeze(1)
            rows, slot, token, place = rows[unfinished], slot[unfinished], token[unfinished], place[unfinished] + 1
            if not len(rows):
                return
            if len(rows) < DENSE * len(before):
                before, slot = before.take(slot), torch.arange(len(rows), device=rows.device)
            read = torch.full_like(before.counts, law.model.eos_id).index_copy_(0, slot, token)
            wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot, True)
            logits, before = law.model.extend(before, read.unsqueeze(1), wanted.unsqueeze(1))
            token = self._next(rows, place, logits)

    def _next(self, rows: Tensor, place: Tensor, logits: Iterable[Tensor]) -> Tensor:
        """``int64 [rows]``: a token for ``place``, or the end, drawn and written."""
        u = self.noise[rows, place.clamp(max=self.law.max_length - 1)]
        token, log_probs, nlls = self.law.draw(logits, place, u)
        self.scores[rows, place] = torch.stack([log_probs, nlls], dim=1)
        text = token != self.law.model.eos_id
        self.x[rows[text], place[text]] = token[text]
        return token
