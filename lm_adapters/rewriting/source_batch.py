"""Texts drawn and scored by a seq2seq model, each row given a source of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lm_adapters.forward.oom import run_passes
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.proposals.token_distribution import TokenDistribution
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.decoding import Decoding
from lm_adapters.rewriting.tasks import WritingTask

__all__ = ["Bounds", "SourceBatch", "Written"]

T = TypeVar("T")

DENSE = 0.75  # where fewer of a pass's rows are still being written, finished ones are removed from it
TOO_SHORT, OPEN, FULL = 0, 1, 2  # what the length so far allows: no end, anything, nothing but the end


class Bounds(NamedTuple):
    """Fewest and most tokens that the text of each row may have, ``int64 [rows]`` each, ``0 <= fewest <= most``."""

    fewest: Tensor
    most: Tensor


class Written(NamedTuple):
    """Drawn texts ``x int64 [rows, width]``, padded, with ``log q`` of each and of the ``old`` text of its row."""

    x: Tensor
    log_q: Tensor
    log_q_old: Tensor | None


@dataclass(frozen=True)
class _Vocabulary:
    """``allowed bool [vocabulary]`` may be written, ``eos_id`` ends a text."""

    allowed: Tensor
    eos_id: int


class SourceBatch:
    """``q(y | source)``: texts of proposable tokens within bounds, one token after the other.

    Each token, or the end, is drawn from the model's logits under ``truncation``, renormalised over proposable tokens
    and the end; the end is forbidden before the fewest tokens and certain at the most. The result is a product of known
    conditionals that sums to 1 over the texts within the bounds.

    Cost of a draw: an encoder pass over the distinct sources, then a decoder pass of one token for each further token
    over the unfinished rows. Of a density: an encoder pass and one decoder pass. Rows are split where they do not fit
    in ``tokens_per_pass`` or in memory; draws do not depend on that.
    """

    def __init__(self, lm: Seq2SeqLM, task: WritingTask, truncation: Truncation | None = None) -> None:
        self.lm, self.task, self.truncation = lm, task, truncation or Truncation()
        self._law = TokenDistribution(_Vocabulary(lm.allowed, task.end), self.truncation, OPEN, FULL)

    def draw(self, sources: Tensor, bounds: Bounds, rng: torch.Generator, old: Tensor | None = None) -> Written:
        """A text for each of ``sources int64 [rows, width]``, padded at the right, without special tokens.

        ``old int64 [rows, any width]``: texts whose density given the same sources is wanted as well; it costs one more
        decoder pass.
        """
        width = int(bounds.most.max())
        noise = torch.rand((len(sources), width), dtype=torch.float64, device=rng.device, generator=rng)
        noise = noise.to(sources.device)
        x = sources.new_full((len(sources), width), self.lm.space.pad_id)
        scores = torch.zeros(2, len(sources), dtype=torch.float64, device=sources.device)

        def run(rows: Tensor) -> tuple[Tensor, Tensor]:
            here = Bounds(bounds.fewest[rows], bounds.most[rows])
            first, start = self._begin(sources[rows])
            texts, drawn = self._write(first, start, here, noise[rows])
            before = drawn if old is None else self._score(first, start, here, old[rows])
            return texts, torch.stack([drawn, before])

        for rows, (texts, found) in self._passes(sources, width, run):
            x[rows], scores[:, rows] = texts, found
        return Written(x, scores[0], None if old is None else scores[1])

    def log_prob(self, sources: Tensor, x: Tensor, bounds: Bounds) -> Tensor:
        """``float64 [rows]`` in nats, for texts ``x int64 [rows, any width]``; ``-inf`` outside the bounds."""
        total = torch.empty(len(x), dtype=torch.float64, device=x.device)

        def run(rows: Tensor) -> Tensor:
            first, start = self._begin(sources[rows])
            return self._score(first, start, Bounds(bounds.fewest[rows], bounds.most[rows]), x[rows])

        for rows, found in self._passes(sources, x.shape[1], run):
            total[rows] = found
        return total

    def _passes(self, sources: Tensor, width: int, run: Callable[[Tensor], T]) -> Iterator[tuple[Tensor, T]]:
        """Rows that may share a pass, with what ``run`` returns for them; ``width``: of the texts."""
        lengths = self.lm.space.lengths(sources)
        extra = len(self.lm.space.prefix) + len(self.task.prefix) + len(self.lm.space.suffix) + len(self.task.context)
        widths = lengths + extra + width
        return run_passes(widths, self.lm.tokens_per_pass, run, scorer=self.lm, together=self.lm.route.rows)

    def _begin(self, sources: Tensor) -> tuple[Tensor, Decoding]:
        return Decoding.begin(self.lm, sources, self.task.prefix, self.task.context)

    def _write(self, logits: Tensor, state: Decoding, bounds: Bounds, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Texts ``int64 [rows, width of the noise]`` at its quantiles, and ``log q`` of each."""
        x = torch.full(noise.shape, self.lm.space.pad_id, device=noise.device)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        rows = (bounds.most > 0).nonzero().squeeze(1)
        slot, parts = rows, iter([logits[rows]])  # ``slot``: of ``state``, which may still hold finished rows
        for place in range(noise.shape[1]):
            phase = _phase(torch.full_like(rows, place), Bounds(bounds.fewest[rows], bounds.most[rows]))
            token, log_q, _ = self._law.draw(parts, phase, noise[rows, place])
            total[rows] += log_q
            text = token != self.task.end
            x[rows[text], place] = token[text]
            going = (text & (place + 1 < bounds.most[rows])).nonzero().squeeze(1)
            rows, slot, token = rows[going], slot[going], token[going]
            if not len(rows):
                break
            if len(rows) < DENSE * len(state.read):
                state, slot = state.take(slot), torch.arange(len(rows), device=rows.device)
            read = torch.full_like(state.read[:, 0], self.task.end).index_copy_(0, slot, token)
            wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot, True)
            parts, state = state.extend(read.unsqueeze(1), wanted.unsqueeze(1))
        return x, total

    def _score(self, logits: Tensor, state: Decoding, bounds: Bounds, x: Tensor) -> Tensor:
        """``float64 [rows]``: ``log q`` of texts ``x`` after the first ``logits [rows, vocabulary]``."""
        lengths = self.lm.space.lengths(x)
        tokens = torch.nn.functional.pad(x, (0, 1), value=self.lm.space.pad_id)
        tokens = tokens.scatter(1, lengths.unsqueeze(1), self.task.end)[:, : int(lengths.max()) + 1]
        place = torch.arange(tokens.shape[1], device=x.device).expand_as(tokens)
        phase = _phase(place, Bounds(bounds.fewest.unsqueeze(1), bounds.most.unsqueeze(1)))
        total, _ = self._law.log_probs([logits], phase[:, 0], tokens[:, 0])
        later = (place <= lengths.unsqueeze(1))[:, 1:]
        if bool(later.any()):
            read = tokens[:, :-1].where(later, self.task.end)
            found, _ = state.extend(read, later)
            shares, _ = self._law.log_probs(found, phase[:, 1:][later], tokens[:, 1:][later])
            total = total.index_add(0, later.nonzero(as_tuple=True)[0], shares)
        return total


def _phase(place: Tensor, bounds: Bounds) -> Tensor:
    """What may stand at ``place``, in the terms of a ``TokenDistribution`` with bounds ``OPEN`` and ``FULL``."""
    phase = torch.full_like(place, OPEN).masked_fill(place < bounds.fewest, TOO_SHORT)
    return phase.masked_fill(place >= bounds.most, FULL)
