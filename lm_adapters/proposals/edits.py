"""Replace, insert and delete as one proposal, with exact densities in both directions."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.hints import SiteHint
from lm_adapters.locks.base import Lock, editable
from lm_adapters.locks.last_call_cache import LastCallCache
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput, Proposed
from samplers.randomness import categorical, log_share

__all__ = ["EditProposal"]

MOVES = ("replace", "insert", "delete")
REPLACE, INSERT, DELETE = range(3)


class EditProposal:
    """Redraw one token, insert one or delete one; every chain draws its own kind of edit and its own place.

    A labelled move is a kind and a column. The kinds that are possible in ``x`` have probabilities in proportion to
    ``replace``, ``insert`` and ``delete``; given the kind, each free site, or slot to insert at, is equally likely:
    ``q(x' | x) = P(kind | x) / places(kind, x) * p(token | text around it)``, without the last factor for a delete.
    The reverse of a replace is a replace at the same column; insert and delete at one column undo each other. The
    reverse density uses the kinds and places of the new state. Around locked text there are more slots than free
    sites, so these factors do not cancel: without them the target gains ``1 / C(free tokens + pieces, pieces)``.

    One forward pass, with one mask a chain, gives both densities, for any mix of kinds: the text around the edited
    token, and so a truncated list, is the same in both directions. The moves are those of Miao et al. 2019
    (arXiv:1811.10996); the ratio is that of Hastings 1970 for the labelled pair (Green 1995, Biometrika 82, eq. 7).

    A state that lacks a locked piece has no moves to or from it. Where nothing can be edited, ``x`` itself is proposed
    and rejected. Add ``lock`` to the target too, unless every start holds its pieces. Keywords in any order keep the
    order that they start in.

    States must be at least ``max_length`` wide. Raises ``InvalidInput`` for lengths out of order, beyond the model or
    too short for the lock, and for weights that are negative or leave an edit without its reverse.
    """

    move_names = MOVES

    def __init__(
        self,
        model: MaskedLM,
        *,
        lock: Lock | None = None,
        min_length: int = 1,
        max_length: int,
        replace: float = 1 / 3,
        insert: float = 1 / 3,
        delete: float = 1 / 3,
        truncation: Truncation | None = None,
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise InvalidInput(f"lengths are {min_length} to {max_length}; give at least 1, the shorter first")
        if max_length > model.max_length:
            raise InvalidInput(
                f"max_length is {max_length}, the model takes {model.max_length} tokens; give that at most"
            )
        if lock is not None:
            lock.check_length(max_length)
        weights = (replace, insert, delete)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) == 0:
            raise InvalidInput(f"the weights of {', '.join(MOVES)} are {weights}; give numbers from 0, not all 0")
        if (insert > 0) != (delete > 0):
            raise InvalidInput(f"insert weighs {insert}, delete {delete}; give both or none, as one undoes the other")
        self.model, self.lock = model, lock
        self.min_length, self.max_length = min_length, max_length
        self.truncation = truncation or Truncation()
        self.weights = torch.tensor(weights, dtype=torch.float64, device=model.device)
        self._labels = LastCallCache(self._label_log_prob)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        if x.shape[1] < self.max_length:
            raise InvalidInput(f"states are {x.shape[1]} wide, max_length is {self.max_length}; encode with that width")
        log_label = self.label_log_prob(x)
        stuck = (log_label == -math.inf).flatten(1).all(dim=1)
        # Rows without any move take part in the pass as a replace of the first token.
        log_label[stuck, REPLACE, 0] = 0.0
        label = categorical(log_label.flatten(1), rng)
        kind, at = label // log_label.shape[2], label % log_label.shape[2]
        opened, hidden = _opened(x, kind, at)
        logits = self.model.logits(opened, hidden)
        drawn, forward, reverse = self.truncation.draw(logits, self.model.allowed, _token(x, at), rng)
        new = torch.where(stuck.unsqueeze(1), x, self._result(x, opened, kind, at, drawn))
        there = log_label.flatten(1).gather(1, label.unsqueeze(1)).squeeze(1)
        there += forward.where(kind != DELETE, 0.0)
        back = self.label_log_prob(new)[torch.arange(len(x), device=x.device), _undoing(kind), at]
        back += reverse.where(kind != INSERT, 0.0)
        hint = SiteHint.of(self.model, hidden, logits, drawn).known_where((kind != DELETE) & ~stuck)
        return Proposed(new, there.masked_fill(stuck, 0.0), back.masked_fill(stuck, -math.inf), kind, hint)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over its labels; 0 to itself without any.

        One forward pass for each label: for tests and short texts.
        """
        log_label = self.label_log_prob(x_from)
        stuck = (log_label == -math.inf).flatten(1).all(dim=1)
        total = torch.where(stuck & (x_to == x_from).all(dim=1), 0.0, -math.inf).double()
        for kind, at in product(range(len(MOVES)), range(x_from.shape[1])):
            rows = (log_label[:, kind, at] > -math.inf).nonzero().squeeze(1)
            if len(rows):
                label = torch.full_like(rows, kind), torch.full_like(rows, at)
                given = self.edit_log_prob(x_to[rows], x_from[rows], *label)
                total[rows] = torch.logaddexp(total[rows], log_label[rows, kind, at] + given)
        return total

    def label_log_prob(self, x: Tensor) -> Tensor:
        """``float64 [chains, kinds, width]``: log-probability of each kind at each column, ``-inf`` if impossible."""
        return self._labels(x).clone()

    def _label_log_prob(self, x: Tensor) -> Tensor:
        lengths = self.model.space.lengths(x).unsqueeze(1)
        free, slots, found = editable(self.model.space, self.lock, x)
        room = slots[:, :-1] & (lengths < self.max_length)  # a text that fills its state has no slot at its end
        possible = torch.stack([free, room, free & (lengths > self.min_length)], dim=1) & found.reshape(-1, 1, 1)
        places = possible.sum(dim=2)
        weights = self.weights * (places > 0)
        total = weights.sum(dim=1, keepdim=True)
        share = weights / total.where(total > 0, 1.0) / places.clamp(min=1)
        return share.log().unsqueeze(2).where(possible, -math.inf)

    def edit_log_prob(self, x_to: Tensor, x_from: Tensor, kind: Tensor, at: Tensor) -> Tensor:
        """``float64 [chains]``: log-density of the move given its label ``kind, at``, ``int64 [chains]`` each."""
        opened, hidden = _opened(x_from, kind, at)
        token = _token(x_to, at)
        share = log_share(self.truncation.scores(self.model.logits(opened, hidden), self.model.allowed), token[:, None])
        reached = (self._result(x_from, opened, kind, at, token) == x_to).all(dim=1)
        return share.squeeze(1).where(kind != DELETE, 0.0).where(reached, -math.inf)

    def _result(self, x: Tensor, opened: Tensor, kind: Tensor, at: Tensor, token: Tensor) -> Tensor:
        """The edited state, with ``token [chains]`` for what is redrawn or inserted."""
        columns = torch.arange(x.shape[1], device=x.device)
        closed = pad(x, (0, 1), value=self.model.space.pad_id).gather(1, columns + (columns >= at.unsqueeze(1)))
        filled = opened.scatter(1, at.unsqueeze(1), token.unsqueeze(1))
        return torch.where((kind == DELETE).unsqueeze(1), closed, filled)


def _opened(x: Tensor, kind: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The state with room for an inserted token, and ``bool [chains, width]``: the column to mask."""
    columns = torch.arange(x.shape[1], device=x.device)
    at = at.unsqueeze(1)
    return x.gather(1, columns - ((kind == INSERT).unsqueeze(1) & (columns > at)).long()), columns == at


def _undoing(kind: Tensor) -> Tensor:
    return torch.where(kind == REPLACE, REPLACE, INSERT + DELETE - kind)


def _token(x: Tensor, at: Tensor) -> Tensor:
    return x.gather(1, at.unsqueeze(1)).squeeze(1)
