"""Forget most words of a text and write it anew around those that are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lm_adapters.locks.base import Lock
from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.kept_words import Kept, KeptWords
from lm_adapters.rewriting.source_batch import Bounds, SourceBatch
from lm_adapters.rewriting.tasks import check_same_tokens, words_task
from samplers import InvalidInput, Proposed

__all__ = ["RewriteProposal"]


class RewriteProposal:
    """Keep words of a text at random, the locked ones always, and write a text that a model makes of them.

    ``c ~ K(. | x)`` (see ``KeptWords``), ``x' ~ q(. | c)`` by the model's words-to-sentence task, and the ratio is
    ``K(c | x') q(x | c) / (K(c | x) q(x' | c))``. ``c`` is an auxiliary variable of the step: for each ``c``,
    ``pi(x) K(c | x) q(x' | c) min(1, ratio)`` is symmetric in ``x`` and ``x'`` (Hastings 1970, Biometrika 57, section
    2.2, with ``K(c | x) q(x' | c)`` as proposal), and a sum of such moves is reversible. A new text in which the kept
    words do not stand, in their order, has ``K(c | x') = 0`` and is rejected before it is scored; so is one without a
    locked piece. Keywords in any order are kept, with the other words, in a random order, and may come in any.

    A text that lacks a piece, or is longer than ``max_length``, is kept, which counts as rejected. Add ``lock`` to the
    target too. The move crosses between sentences that share little more than the locked words, which edits do not; it
    does not polish, so mix it with edits. It helps most where the model is near the target. A
    small ``keep`` was accepted most: words that are kept must come again. A narrow ``truncation`` makes good texts, and
    was hardly ever accepted: the way back from a text that it seldom draws is what counts.

    Cost: two encoder passes over the words kept, a decoder pass of one token for each token of the new texts, and one
    over the old texts that have a way back. There are no models to run for what is rejected by its words.

    Arguments: ``keep``, the probability that a word is kept, above 0 and below 1 (for 0, the locked words alone, see
    ``samplers.IndependenceProposal``); ``prefix`` stands before the words in the model's input, by default that of its
    task ``words_to_sentence``. Raises ``InvalidInput`` for a model without that task, for one with another vocabulary
    than the lock, and for lengths out of order, beyond the model or too short for the lock.
    """

    move_names = ("rewrite",)

    def __init__(
        self,
        model: Seq2SeqLM,
        *,
        lock: Lock | None = None,
        keep: float = 0.1,
        min_length: int = 1,
        max_length: int,
        truncation: Truncation | None = None,
        prefix: str | None = None,
    ) -> None:
        if not 0 < keep < 1:
            raise InvalidInput(f"keep is {keep}; give a probability above 0 and below 1")
        if not 1 <= min_length <= max_length:
            raise InvalidInput(f"min_length={min_length}, max_length={max_length}: give 1 <= min_length <= max_length")
        task = words_task(model, prefix)
        room = min(model.max_length, model.source_room(task.prefix))
        if max_length > room:
            raise InvalidInput(f"max_length is {max_length}, the seq2seq model takes {room} tokens; lower it")
        if lock is not None:
            lock.check_length(max_length)
            check_same_tokens(model, lock.space)
        self.model, self.lock, self.min_length, self.max_length = model, lock, min_length, max_length
        shuffled = isinstance(lock, Keywords) and lock.any_order
        self.kept = KeptWords(model.space, keep, lock, shuffled)
        self.writer = SourceBatch(model, task, truncation)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        if x.shape[1] < self.max_length:
            raise InvalidInput(f"the states are {x.shape[1]} wide and max_length is {self.max_length}; widen them")
        words, stuck = self.kept.words(x), self._stuck(x)
        kept = self.kept.draw(words, rng)
        sources = self._sources(kept, x)
        bounds = self._bounds(len(x), x.device)
        drawn = self.writer.draw(sources, bounds, rng)
        new = torch.nn.functional.pad(drawn.x, (0, x.shape[1] - self.max_length), value=self.model.space.pad_id)
        new = x.where(stuck.unsqueeze(1), new)
        forward = drawn.log_q + self.kept.log_prob(kept, words).to(x.device)
        reverse = self.kept.log_prob(kept, self.kept.words(new)).to(x.device)
        reverse = reverse.masked_fill(stuck | self._stuck(new), -math.inf)
        rows = (reverse > -math.inf).nonzero().squeeze(1)
        if len(rows):
            reverse[rows] += self.writer.log_prob(sources[rows], x[rows], self._bounds(len(rows), x.device))
        return Proposed(new, forward.masked_fill(stuck, 0.0), reverse)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all that may be kept; 0 to itself where stuck.

        Scores every text for each set of words: for tests and short texts.
        """
        words, stuck = self.kept.words(x_from), self._stuck(x_from)
        total = torch.where(stuck & (x_to == x_from).all(dim=1), 0.0, -math.inf).double()
        every = [[] if still else [*self.kept.every(own)] for still, own in zip(stuck.tolist(), words, strict=True)]
        rows = torch.tensor([row for row, kept in enumerate(every) for _ in kept], dtype=torch.int64)
        if not len(rows):
            return total
        kept = [each for row in every for each in row]
        log_k = self.kept.log_prob(kept, [words[row] for row in rows.tolist()]).to(x_to.device)
        joint = log_k + self.kept_log_prob(x_to[rows], kept)
        most = total.new_full((len(total),), -math.inf).scatter_reduce(0, rows, joint, "amax")
        shares = (joint - most.clamp(min=torch.finfo(joint.dtype).min)[rows]).exp()
        summed = torch.zeros_like(total).index_add_(0, rows, shares).log() + most
        return torch.where(stuck, total, summed)

    def kept_log_prob(self, x_to: Tensor, kept: Sequence[Kept]) -> Tensor:
        """``float64 [rows]``: ``log q(x_to | c)`` of each row's kept words; equal rows are scored once."""
        sources = self._sources(kept, x_to)
        pairs, of_row = torch.cat([sources, x_to], dim=1).unique(dim=0, return_inverse=True)
        source, x = pairs.split([sources.shape[1], x_to.shape[1]], dim=1)
        return self.writer.log_prob(source, x, self._bounds(len(x), x.device))[of_row]

    def _sources(self, kept: Sequence[Kept], x: Tensor) -> Tensor:
        rows = [[token for word in row for token in word] for row in kept]
        width = max(map(len, rows))
        pad_id = self.model.space.pad_id
        padded = [row + [pad_id] * (width - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64, device=x.device).reshape(len(x), width)

    def _bounds(self, rows: int, device: torch.device) -> Bounds:
        return Bounds(*(torch.full((rows,), length, device=device) for length in (self.min_length, self.max_length)))

    def _stuck(self, x: Tensor) -> Tensor:
        """``bool [chains]``: texts without a move to or from them."""
        stuck = self.model.space.lengths(x) > self.max_length
        return stuck if self.lock is None else stuck | ~self.lock.found(x)
