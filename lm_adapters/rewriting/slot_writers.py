"""What fills one slot of each text: a model that reads from left to right, or a masked one that sees both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Prefixes, batchable_rows
from lm_adapters.forward.oom import run_passes, split_on_oom
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.keyword_fill import masks_log_prob
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.splicing import joined
from lm_adapters.text import TextSpace
from samplers.randomness import Weights

__all__ = ["FilledSlots", "MaskedSlotWriter", "ReadingSlotWriter", "SlotWriter", "Slots"]

MANY = 512  # texts that are continued in one pass


class Slots(NamedTuple):
    """One slot of each text, ``int64 [rows]`` each.

    It has ``size`` tokens from column ``start`` on, and may have ``fewest`` to ``most``, ``1 <= fewest``.
    """

    start: Tensor
    size: Tensor
    fewest: Tensor
    most: Tensor

    def take(self, rows: Tensor) -> Slots:
        return Slots(*(each[rows] for each in self))


class FilledSlots(NamedTuple):
    """New tokens ``y int64 [rows, width]``, padded, with ``log q`` of them and of the old ones, ``float64 [rows]``."""

    y: Tensor
    log_q: Tensor
    log_q_old: Tensor


class _Read(NamedTuple):
    """What a pass over the slots gave: ``log_q float64 [rows]`` of what is in them, ``stop int64 [rows]`` behind them.

    ``logits [rows, vocabulary]`` of their first tokens, ``before`` what stands before those, and more.
    """

    log_q: Tensor
    stop: Tensor
    logits: Tensor
    before: Prefixes


class SlotWriter(Protocol):
    """``q(y | what is around the slot)``, so that both directions of a move share it."""

    @property
    def space(self) -> TextSpace: ...

    def __call__(self, x: Tensor, slots: Slots, rng: torch.Generator) -> FilledSlots: ...

    def log_prob(self, x: Tensor, slots: Slots) -> Tensor:
        """``float64 [rows]``: of what stands in the slots of ``x``."""


@dataclass(frozen=True)
class MaskedSlotWriter:
    """A number of tokens, uniform on what the slot may have, drawn from left to right given all that stands by then.

    Cost: a row of the text for each new token and for each old one, and one less where both are as many.
    """

    model: MaskedLM
    truncation: Truncation

    @property
    def space(self) -> TextSpace:
        return self.model.space

    def __call__(self, x: Tensor, slots: Slots, rng: torch.Generator) -> FilledSlots:
        choices = slots.most - slots.fewest + 1
        share = torch.rand(len(x), dtype=torch.float64, device=rng.device, generator=rng).to(x.device)
        count = slots.fewest + (share * choices).long().clamp(max=choices - 1)
        width, space = int(slots.most.max()), self.space
        column = torch.arange(width, device=x.device)
        free = column < count.unsqueeze(1)
        new, old = (
            joined(
                space, x, slots.start, slots.size, torch.where(column < size.unsqueeze(1), self.mask_id, space.pad_id)
            )
            for size in (count, slots.size)
        )
        log_q, same = torch.zeros((2, len(x)), dtype=torch.float64, device=x.device), count == slots.size
        for turn in range(width):
            at = slots.start + turn
            # At first the old text hides as much as the new one, where both are as long: one row tells both densities.
            both = same & (turn == 0) & (turn < count)
            rows, others = (turn < count).nonzero().squeeze(1), ((turn < slots.size) & ~both).nonzero().squeeze(1)
            if not len(rows) + len(others):
                break
            of, place = torch.cat([rows, others]), torch.cat([at[rows], at[others]])
            token, share = self._drawn(torch.cat([new[rows], old[others]]), place, x[of, place], rng)
            log_q[0, rows] += share[: len(rows), 0]
            log_q[1, others] += share[len(rows) :, 1]
            log_q[1, rows] += share[: len(rows), 1].where(both[rows], 0.0)
            new[rows, at[rows]] = token[: len(rows)]
            known = torch.cat([others, rows[both[rows]]])
            old[known, at[known]] = x[known, at[known]]
        y = new.gather(1, (slots.start.unsqueeze(1) + column).clamp(max=x.shape[1] - 1)).where(free, space.pad_id)
        return FilledSlots(y, *(log_q - choices.double().log()))

    @property
    def mask_id(self) -> int:
        mask_id = self.space.mask_id
        assert mask_id is not None, "a masked language model has a mask token"
        return mask_id

    def _drawn(self, x: Tensor, at: Tensor, others: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A token for column ``at`` of each row, and log-probabilities ``[rows, 2]`` of it and of ``others``."""
        site = torch.zeros_like(x, dtype=torch.bool).scatter(1, at.unsqueeze(1), True)
        token, *shares = self.truncation.draw(self.model.logits(x, site), self.model.allowed, others, rng)
        return token, torch.stack(shares, dim=1)

    def log_prob(self, x: Tensor, slots: Slots) -> Tensor:
        place = torch.arange(x.shape[1], device=x.device) - slots.start.unsqueeze(1)
        filled = masks_log_prob(self.model, x, (place >= 0) & (place < slots.size.unsqueeze(1)), self.truncation)
        return filled - (slots.most - slots.fewest + 1).double().log()


@dataclass(frozen=True)
class ReadingSlotWriter:
    """Tokens drawn one after the other given what stands before them, until the model writes what follows the slot.

    What follows is the first token of the frozen text behind the slot, or the end of the text: it ends the slot, is
    forbidden before the fewest tokens, and certain at the most. A slot that holds it is never drawn (``-inf``).

    Cost: a pass over what is before the slot and in it, then for each further token a pass of one token over the
    unfinished texts.
    """

    model: Autoregressive
    truncation: Truncation

    @property
    def space(self) -> TextSpace:
        return self.model.space

    def __call__(self, x: Tensor, slots: Slots, rng: torch.Generator) -> FilledSlots:
        width = int(slots.most.max())
        noise = torch.rand((len(x), width), dtype=torch.float64, device=rng.device, generator=rng).to(x.device)
        y = x.new_full((len(x), width), self.space.pad_id)
        log_q = torch.zeros((2, len(x)), dtype=torch.float64, device=x.device)
        longest = int(self.space.lengths(x).max()) + 1
        most = max(1, min(MANY, self.model.tokens_per_pass // 2), self.model.tokens_per_pass // longest)
        for group in batchable_rows(slots.start, self.model.ragged):
            for rows in group.split(most):
                found = split_on_oom(
                    rows,
                    lambda part: self._filled(x[part], slots.take(part), noise[part]),
                    scorer=self.model.lm,
                    tokens=longest,
                )
                for part, filled in found:
                    y[part], log_q[:, part] = filled.y, torch.stack([filled.log_q, filled.log_q_old])
        return FilledSlots(y, *log_q)

    def log_prob(self, x: Tensor, slots: Slots) -> Tensor:
        total = torch.empty(len(x), dtype=torch.float64, device=x.device)
        widths = slots.start + slots.size + 1
        for rows, found in run_passes(
            widths,
            self.model.tokens_per_pass,
            lambda part: self._read(x[part], slots.take(part)).log_q,
            scorer=self.model.lm,
        ):
            total[rows] = found
        return total

    def _read(self, x: Tensor, slots: Slots) -> _Read:
        start, tokens = slots.start.unsqueeze(1), with_end_token(self.model, x)
        behind = start + slots.size.unsqueeze(1)
        column = torch.arange(tokens.shape[1], device=x.device)
        wanted, stop = (column >= start) & (column <= behind), tokens.gather(1, behind).squeeze(1)
        parts, before = self.model.read(x, wanted)
        logits, (row, at) = torch.cat(list(parts)), wanted.nonzero(as_tuple=True)
        place = at - slots.start[row]
        log_q = self._log_q(logits, row, place, tokens[wanted], stop, slots)
        return _Read(log_q, stop, logits[place == 0], before)

    def _filled(self, x: Tensor, slots: Slots, noise: Tensor) -> FilledSlots:
        old, stop, logits, before = self._read(x, slots)
        y = torch.full(noise.shape, self.space.pad_id, device=x.device)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        rows = torch.arange(len(x), device=x.device)
        before = before.take(rows, slots.start)
        for place in range(noise.shape[1]):
            weights = self._weights(logits, torch.full_like(rows, place), stop[rows], slots.take(rows))
            token = weights.at(noise[rows, place])
            total[rows] += weights.log_prob(token.unsqueeze(1)).squeeze(1)
            goes = token != stop[rows]
            y[rows[goes], place] = token[goes]
            going = (goes & (place + 1 < slots.most[rows])).nonzero().squeeze(1)
            rows, token = rows[going], token[going]
            if not len(rows):
                break
            read = token.unsqueeze(1)
            parts, before = self.model.extend(before.take(going), read, torch.ones_like(read, dtype=torch.bool))
            logits = torch.cat(list(parts))
        return FilledSlots(y, total, old)

    def _log_q(self, logits: Tensor, row: Tensor, place: Tensor, tokens: Tensor, stop: Tensor, slots: Slots) -> Tensor:
        """``float64 [rows]``: of the ``tokens`` that stand in the slots and behind them, one for each of ``logits``."""
        here = slots.take(row)
        drawn = place < here.most  # there the end is certain
        chosen = self._weights(logits[drawn], place[drawn], stop[row][drawn], here.take(drawn))
        log_q = torch.zeros_like(place, dtype=torch.float64)
        log_q[drawn] = chosen.log_prob(tokens[drawn].unsqueeze(1)).squeeze(1)
        log_q = log_q.masked_fill((tokens == stop[row]) != (place == here.size), -math.inf)
        return torch.zeros_like(stop, dtype=torch.float64).index_add(0, row, log_q)

    def _weights(self, logits: Tensor, place: Tensor, stop: Tensor, slots: Slots) -> Weights:
        """Of what may stand ``place`` tokens behind the start of its slot, ``[rows, vocabulary]``."""
        possible = self.model.allowed.expand(len(logits), -1).clone()
        possible[torch.arange(len(stop), device=stop.device), stop] = place >= slots.fewest
        return Weights(self.truncation.scores(logits, possible).softmax(dim=1))
