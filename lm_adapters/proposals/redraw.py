"""Continue texts, each from its own place, one token after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.forward.batching import passes
from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.proposals.token_distribution import TokenDistribution
from samplers.randomness import joined

__all__ = ["DENSE", "Decoder", "Redrawn", "redraw"]

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
    law: TokenDistribution[Autoregressive],
    x: Tensor,
    cut: Tensor,
    noise: Tensor,
    score_end: bool,
    rows: Tensor,
    *,
    scored: bool = True,
) -> Redrawn:
    """``SequenceDistribution.redraw`` of the given ``rows``, by the quantiles ``noise [all rows, max_length]``.

    Without ``scored`` the scores are all 0.
    """
    parts = list(passes(cut[rows] + 1, law.model.tokens_per_pass))
    if len(parts) == 1:  # which keeps the order of the rows
        return Decoder(law, x[rows], cut[rows], noise[rows], score_end, scored).written([len(rows)])
    order = torch.cat(parts)
    rows = rows[order]
    decoder = Decoder(law, x[rows], cut[rows], noise[rows], score_end, scored)
    drawn, back = decoder.written([len(part) for part in parts]), order.argsort()
    return Redrawn(drawn.x[back], drawn.scores[back])


class Decoder:
    """Continues texts ``x [rows, width]`` from ``cut [rows]`` on and keeps ``scores [rows, width + 1, 2]``.

    While it writes, ``x`` has a column more, and the end of a text is a token in it.
    """

    def __init__(
        self,
        law: TokenDistribution[Autoregressive],
        x: Tensor,
        cut: Tensor,
        noise: Tensor,
        score_end: bool,
        scored: bool,
    ) -> None:
        self.law, self.cut, self.noise, self.scored = law, cut, noise, scored
        self.cuts: list[int] = cut.tolist()
        self.last = law.max_length if score_end else law.max_length - 1
        columns = torch.arange(x.shape[1] + 1, device=x.device)
        self.before = columns < cut.unsqueeze(1)
        self.x = pad(x, (0, 1)).where(self.before, law.model.space.pad_id)
        self.scores = torch.zeros((len(x), x.shape[1] + 1, 2), dtype=torch.float64, device=x.device)

    def written(self, parts: list[int]) -> Redrawn:
        """The texts, what precedes them read in passes of so many rows."""
        self.write(*self.begin(parts))
        ends = (self.x == self.law.model.eos_id) & ~self.before
        x = self.x.masked_fill(ends, self.law.model.space.pad_id)[:, :-1]
        return Redrawn(x, self.scores.transpose(1, 2))

    def begin(self, parts: list[int]) -> tuple[Tensor, Prefixes]:
        """Draw the first token of each text, and read what is before it."""
        tokens, prefixes = [], []
        columns = torch.arange(self.x.shape[1], device=self.x.device)
        start = 0
        for count in parts:
            rows = torch.arange(start, start + count, device=self.x.device)
            cut, cuts = self.cut[start : start + count], self.cuts[start : start + count]
            start += count
            logits, read = self.law.model.read(self.x[rows, :-1], columns == cut.unsqueeze(1))
            tokens.append(self.next_tokens(rows, cut, logits, (min(cuts), max(cuts))))
            same = min(cuts) == max(cuts)  # all that was read is what precedes each text
            prefixes.append(read if same else read.take(torch.arange(count, device=rows.device), cut))
        return joined(tokens), Prefixes.join(prefixes)

    def write(self, token: Tensor, before: Prefixes) -> None:
        """Draw all that follows the first tokens; ``before`` is what precedes these."""
        law, place = self.law, self.cut
        rows = torch.arange(len(self.x), device=self.x.device)
        slot = rows  # of ``before``, which may still hold texts that are finished
        first, last = min(self.cuts), max(self.cuts)
        every = torch.ones_like(rows, dtype=torch.bool).unsqueeze(1)
        while True:
            going = token != law.model.eos_id
            if last >= self.last:
                going &= place < self.last
            unfinished = going.nonzero().squeeze(1)
            if len(unfinished) < len(going):
                rows, slot, token, place = rows[unfinished], slot[unfinished], token[unfinished], place[unfinished]
                if not len(rows):
                    return
                if len(rows) < DENSE * len(before):
                    before, slot = before.take(slot), torch.arange(len(rows), device=rows.device)
            place, first, last = place + 1, first + 1, last + 1
            if len(rows) == len(before):
                read, wanted = token, every if len(rows) == len(every) else every[: len(rows)]
            else:
                read = torch.full_like(before.counts, law.model.eos_id).index_copy_(0, slot, token)
                wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot, True).unsqueeze(1)
            logits, before = law.model.extend(before, read.unsqueeze(1), wanted)
            token = self.next_tokens(rows, place, logits, (first, last))

    def next_tokens(self, rows: Tensor, place: Tensor, logits: Iterable[Tensor], reach: tuple[int, int]) -> Tensor:
        """``int64 [rows]``: a token for ``place``, or the end, drawn and written."""
        u = self.noise[rows, place if reach[1] < self.law.max_length else place.clamp(max=self.law.max_length - 1)]
        begun = (self.x[rows],) if self.law.reads_beginnings else ()
        if self.scored:
            token, log_probs, nlls = self.law.draw(logits, place, u, reach, *begun)
            self.scores[rows, place] = torch.stack([log_probs, nlls], dim=1)
        else:
            token = self.law.sample(logits, place, u, reach, *begun)
        self.x[rows, place] = token
        return token
