"""Spell a keyword in other tokens: as at the start of a text, as after a space, as after nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.keywords import Keywords
from samplers import Proposed
from samplers.randomness import draw_site

__all__ = ["RespellProposal"]


class RespellProposal:
    """Replace the tokens of one keyword by another of its spellings.

    No other move changes a locked piece, so without this one a keyword that stands at the start of a text in a spelling
    of its own (``Tom`` beside ``ĠTom``) would stay there. The keyword is uniform on those with several spellings, the
    spelling on the others that may stand at its column. Both depend on the column alone, which the reverse move shares:
    forward and reverse density are equal. Where the new tokens are not found as that keyword, or make the text too long
    or too short, there is no reverse move (``-inf``); a text with nothing to respell is kept, which counts as rejected.
    """

    move_names = ("respell",)

    def __init__(self, lock: Keywords, *, min_length: int = 1, max_length: int) -> None:
        self.lock, self.min_length, self.max_length = lock, min_length, max_length
        self._choices = [k for k, piece in enumerate(lock.spelt) if len(piece.spellings) > 1]
        most = max(len(piece.spellings) for piece in lock.spelt)
        longest = max(len(spelling) for piece in lock.spelt for spelling in piece.spellings)
        self._tokens = torch.full((len(lock.spelt), most, longest), -1)
        self._may_stand = torch.zeros(2, len(lock.spelt), most, dtype=torch.bool)  # later, at the start
        for k, piece in enumerate(lock.spelt):
            for s, spelling in enumerate(piece.spellings):
                self._tokens[k, s, : len(spelling)] = torch.tensor(spelling)
                for at_start, column in enumerate((1, 0)):
                    self._may_stand[at_start, k, s] = spelling in piece.spellings_at(column)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        choices = torch.tensor(self._choices, device=x.device)
        keyword = choices[draw_site(torch.ones(len(x), len(choices), dtype=torch.bool, device=x.device), rng)]
        others = self._others(x, keyword)
        stuck = ~others.any(dim=1)
        new, reversible = self._respelt(x, keyword, draw_site(others | stuck.unsqueeze(1), rng))
        log_q = -math.log(len(choices)) - others.sum(dim=1).clamp(min=1).double().log()
        reversible &= ~stuck
        return Proposed(
            new.where(reversible.unsqueeze(1), x),
            log_q.masked_fill(stuck, 0.0),
            log_q.masked_fill(~reversible, -math.inf),
        )

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over keywords and spellings that make it."""
        total = torch.zeros(len(x_from), dtype=torch.float64, device=x_from.device)
        left = torch.ones_like(total)  # the share of labels without a move: they keep the text
        for k in self._choices:
            keyword = torch.full_like(x_from[:, 0], k)
            others = self._others(x_from, keyword)
            share = 1 / (len(self._choices) * others.sum(dim=1).clamp(min=1).double())
            for s in range(others.shape[1]):
                new, reversible = self._respelt(x_from, keyword, torch.full_like(keyword, s))
                moves = others[:, s] & reversible
                total += share * (moves & (new == x_to).all(dim=1))
                left -= share * moves
        return (total + left * (x_to == x_from).all(dim=1)).log()

    def _others(self, x: Tensor, keyword: Tensor) -> Tensor:
        """``bool [chains, spellings]``: what could stand in the place of the ``keyword int64 [chains]``."""
        held, found = self.lock.search(x)
        here = held == keyword.unsqueeze(1) + 1
        columns = torch.arange(self._tokens.shape[2], device=x.device)
        places = here.long().argmax(dim=1, keepdim=True) + columns
        there = pad(x, (0, len(columns)), value=self.lock.space.pad_id).gather(1, places)
        tokens = self._tokens.to(x.device)[keyword]
        current = ((tokens == there.unsqueeze(1)) | (tokens < 0)).all(dim=2)
        current &= (tokens >= 0).sum(dim=2) == here.sum(dim=1, keepdim=True)
        return self._may_stand.to(x.device)[here[:, 0].long(), keyword] & ~current & found.unsqueeze(1)

    def _respelt(self, x: Tensor, keyword: Tensor, spelling: Tensor) -> tuple[Tensor, Tensor]:
        """The texts with another spelling, and ``bool [chains]``: where it is found and they are not too long."""
        held, _ = self.lock.search(x)
        tokens = self._tokens.to(x.device)[keyword, spelling]
        here = held == keyword.unsqueeze(1) + 1
        columns = torch.arange(x.shape[1], device=x.device)
        start, old = here.long().argmax(dim=1, keepdim=True), here.sum(dim=1, keepdim=True)
        size = (tokens >= 0).sum(dim=1, keepdim=True)
        within = (columns >= start) & (columns < start + size)
        source = torch.where(columns < start, columns, columns - size + old)

        def moved(row: Tensor, fill: int) -> Tensor:
            return pad(row, (0, tokens.shape[1]), value=fill).gather(1, source.clamp(min=0))

        written = tokens.gather(1, (columns - start).clamp(0, tokens.shape[1] - 1))
        new = torch.where(within, written, moved(x, self.lock.space.pad_id))
        expected = torch.where(within, keyword.unsqueeze(1) + 1, moved(held, 0))
        length = self.lock.space.lengths(x) + (size - old).squeeze(1)
        fits = (length >= self.min_length) & (length <= min(self.max_length, x.shape[1]))
        return new, fits & (self.lock.pieces(new) == expected).all(dim=1)
