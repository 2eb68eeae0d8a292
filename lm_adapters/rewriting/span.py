"""Write a span of a text anew, from what is left and right of it, at any length that fits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.base import Lock, editable
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.source_batch import Bounds, SourceBatch
from lm_adapters.rewriting.splicing import joined, without
from lm_adapters.rewriting.tasks import check_same_tokens, span_task
from samplers import InvalidInput, Proposed
from samplers.randomness import draw_site

__all__ = ["SpanProposal"]


class SpanProposal:
    """Cut out a span of up to ``longest`` tokens and write another in its place, of any length from 0 on that fits.

    A labelled move ``(a, b)`` keeps ``a`` tokens on the left and ``b`` on the right. The label is uniform on the
    ``N(x)`` pairs whose span has at most ``longest`` tokens, none of them locked or never proposed
    (``TextSpace.fixed``); an empty span stands at a slot (see ``Editable``) where the text and its
    gap have room for a token. ``y' ~ q(. | left, right)`` by the span
    task of the model, within ``longest``, the bounds of the text and those of the lock's gap, and the ratio is
    ``N(x) q(y | left, right) / (N(x') q(y' | left, right))``: the context does not hold the span, so forward and
    reverse share it, and detailed balance holds for each label by itself (Hastings 1970, Biometrika 57, section 2.2).
    Without the factor ``N`` the target would favour texts with few such pairs.

    There is no reverse move (``-inf``) where the lock finds its pieces elsewhere in the new text than it did in the old
    one, or not at all: a condition on the pair, symmetric in both. A text out of bounds, one that lacks a piece and one
    without any such span are kept, which counts as rejected. Add ``lock`` to the target too.

    The move redraws a gap between keywords, or a slot of a template, as a whole, and lets it grow and shrink; it cannot
    change what is locked, and cares for the text on both sides, which ``SuffixProposal`` cannot.

    Cost: an encoder pass over the contexts, a decoder pass of one token for each token of the new spans, and one over
    the old spans. Raises ``InvalidInput`` for a model that fills no spans, for one with another vocabulary than the
    lock, for ``longest`` below 1, and for lengths out of order, beyond the model or too short for the lock.
    """

    move_names = ("span",)

    def __init__(
        self,
        model: Seq2SeqLM,
        *,
        lock: Lock | None = None,
        longest: int = 4,
        min_length: int = 1,
        max_length: int,
        truncation: Truncation | None = None,
    ) -> None:
        if longest < 1:
            raise InvalidInput(f"longest is {longest}; give at least 1 token")
        if not 1 <= min_length <= max_length:
            raise InvalidInput(f"min_length={min_length}, max_length={max_length}: give 1 <= min_length <= max_length")
        task = span_task(model)
        room = model.source_room(task.prefix) - 1  # for the sentinel
        if max_length > room:
            raise InvalidInput(f"max_length is {max_length}, the seq2seq model takes {room} tokens; lower it")
        if lock is not None:
            lock.check_length(max_length)
            check_same_tokens(model, lock.space)
        self.model, self.lock, self.longest = model, lock, longest
        self.min_length, self.max_length = min_length, max_length
        self.sentinel = task.sentinel
        self.writer = SourceBatch(model, task, truncation)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        if x.shape[1] < self.max_length:
            raise InvalidInput(f"the states are {x.shape[1]} wide and max_length is {self.max_length}; widen them")
        spans = self.spans(x)
        stuck = ~spans.flatten(1).any(dim=1)
        # Rows without any span take part in the pass, before their first token.
        label = draw_site(spans.flatten(1) | stuck.unsqueeze(1), rng)
        start, size = (torch.where(stuck, 0, each) for each in (label // spans.shape[2], label % spans.shape[2]))
        context, old = self._cut(x, start, size)
        drawn = self.writer.draw(context, self._bounds(x, start, size), rng, old)
        new = joined(self.model.space, x, start, size, drawn.x).where(~stuck.unsqueeze(1), x)
        forward = drawn.log_q - spans.flatten(1).sum(dim=1).clamp(min=1).double().log()
        back = self.spans(new)
        assert drawn.log_q_old is not None
        reverse = drawn.log_q_old - back.flatten(1).sum(dim=1).clamp(min=1).double().log()
        new_size = self.model.space.lengths(new) - self.model.space.lengths(x) + size
        reversible = self.can_undo(x, start, size, new, new_size) & ~stuck
        return Proposed(new, forward.masked_fill(stuck, 0.0), reverse.masked_fill(~reversible, -math.inf))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all labels that can make it.

        One pass for each label: for tests and short texts. Moves that are always rejected are among them.
        """
        spans = self.spans(x_from)
        stuck = ~spans.flatten(1).any(dim=1)
        total = torch.where(stuck & (x_to == x_from).all(dim=1), 0.0, -math.inf).double()
        for start, size in spans.any(dim=0).nonzero().tolist():
            rows = spans[:, start, size].nonzero().squeeze(1)
            total[rows] = torch.logaddexp(total[rows], self.label_log_prob(x_to[rows], x_from[rows], start, size))
        return total

    def label_log_prob(self, x_to: Tensor, x_from: Tensor, start: int, size: int) -> Tensor:
        """``float64 [chains]``: log-density of the labelled move, the label's probability included.

        The label keeps what is left of ``start`` and right of the ``size`` tokens from there on, a span of ``x_from``.
        """
        at, width = (torch.full((len(x_from),), value, device=x_from.device) for value in (start, size))
        lengths = [self.model.space.lengths(x) for x in (x_from, x_to)]
        new_width = lengths[1] - lengths[0] + width
        context, _ = self._cut(x_from, at, width)
        other, new = self._cut(x_to, at, new_width.clamp(min=0))
        reached = (new_width >= 0) & (context == other).all(dim=1)
        log_q = self.writer.log_prob(context, new, self._bounds(x_from, at, width))
        count = self.spans(x_from).flatten(1).sum(dim=1).clamp(min=1)
        return (log_q - count.double().log()).masked_fill(~reached, -math.inf)

    def spans(self, x: Tensor) -> Tensor:
        """``bool [chains, width + 1, longest + 1]``: whether a span of that size may be cut out at that column."""
        free, slots, found = editable(self.model.space, self.lock, x)
        lengths = self.model.space.lengths(x)
        usable = found & (lengths >= self.min_length) & (lengths <= self.max_length)
        locked = pad((~free).cumsum(dim=1), (1, 0))
        ahead = pad(locked, (0, self.longest), value=x.shape[1] + 1).unfold(1, self.longest + 1, 1)
        spans = ahead == locked.unsqueeze(2)  # no token that is not free among the next ``size``
        spans[:, :, 0] = slots & (lengths < self.max_length).unsqueeze(1)
        if self.lock is not None and self.lock.gaps is not None:
            spans[:, :, 0] &= self._gap_room(x)[1] > 0
        return spans & usable.reshape(-1, 1, 1)

    def can_undo(self, x: Tensor, start: Tensor, size: Tensor, new: Tensor, new_size: Tensor) -> Tensor:
        """``bool [chains]``: ``new``, in which ``new_size`` tokens stand for ``size``, may be cut at the same place.

        Both spans may be cut, and around them the lock holds the same tokens in both texts.
        """
        possible = torch.ones_like(start, dtype=torch.bool)
        around = []
        for text, width in ((x, size), (new, new_size)):
            row, inside = torch.arange(len(text), device=text.device), (width >= 0) & (width <= self.longest)
            possible &= inside & self.spans(text)[row, start, width.clamp(min=0, max=self.longest)]
            if self.lock is not None:
                around.append(without(self.lock.pieces(text), start, width.clamp(min=0), 0))
        return possible & (around[0] == around[1]).all(dim=1) if around else possible

    def _cut(self, x: Tensor, start: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Sources with a sentinel in place of the span, and the spans, ``int64 [chains, width + 1]`` each, padded."""
        pad_id, at = self.model.space.pad_id, start.unsqueeze(1)
        column = torch.arange(x.shape[1] + 1, device=x.device)
        kept = pad(without(x, start, size, pad_id), (0, 1), value=pad_id)
        context = kept.gather(1, column - (column > at).long()).scatter(1, at, self.sentinel)
        span = pad(x, (0, 1), value=pad_id).gather(1, (at + column).clamp(max=x.shape[1]))
        return context, span.masked_fill(column >= size.unsqueeze(1), pad_id)

    def _bounds(self, x: Tensor, start: Tensor, size: Tensor) -> Bounds:
        """Of the new span, from what is kept."""
        kept = self.model.space.lengths(x) - size
        fewest, most = (self.min_length - kept).clamp(min=0), (self.max_length - kept).clamp(max=self.longest)
        if self.lock is not None and self.lock.gaps is not None:
            limits = [each.gather(1, start.unsqueeze(1)).squeeze(1) + size for each in self._gap_room(x)]
            fewest, most = torch.maximum(fewest, limits[0]), torch.minimum(most, limits[1])
        return Bounds(fewest, torch.maximum(most, fewest))

    def _gap_room(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``int64 [chains, width + 1]`` each: tokens that the gap of the lock at each column lacks at least, at most.

        Negative where the gap has more than it needs.
        """
        assert self.lock is not None
        assert self.lock.gaps is not None
        held, text = self.lock.pieces(x), self.model.space.is_token(x)
        gap = pad(held, (1, 0)).cummax(dim=1).values  # by the piece on its left
        number = torch.arange(len(self.lock.gaps), device=x.device).reshape(1, 1, -1)
        free = ((held == 0) & text).unsqueeze(2) & (gap[:, :-1].unsqueeze(2) == number)
        limits = torch.tensor(self.lock.gaps, device=x.device)
        fewest, most = (limit - free.sum(dim=1) for limit in limits.T)
        return fewest.gather(1, gap), most.gather(1, gap)
