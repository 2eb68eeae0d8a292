"""Write a slot of a template anew, as a whole, at any length that it may have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lm_adapters.locks.template import Template
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.slot_writers import MaskedSlotWriter, ReadingSlotWriter, Slots, SlotWriter
from lm_adapters.rewriting.splicing import joined, without
from samplers import InvalidInput, Proposed

__all__ = ["SlotProposal"]


class SlotProposal:
    """Empty one of the ``slots`` of the template ``lock``, uniform among them, and let ``model`` fill it.

    A masked model sees both sides and fills a number of tokens that is drawn uniformly (``MaskedSlotWriter``); one that
    reads from left to right writes until the text behind the slot comes (``ReadingSlotWriter``): where that is the last
    slot, and the target the model's own law, nearly all it writes is accepted.

    With ``k`` the slot and ``y`` what is in it, the ratio is ``q(y | rest, k) / q(y' | rest, k)``: the rest is the same
    in both directions, each ``k`` is as likely in all texts that fit, and detailed balance holds for each ``k`` by
    itself (Hastings 1970, Biometrika 57, section 2.2). There is no reverse move (``-inf``) where the template finds its
    frozen text elsewhere in the new text; one that does not fit is kept, which counts as rejected. Add ``lock`` to the
    target too.

    Cost: that of the writer, for the new and the old tokens of a slot.

    Raises ``InvalidInput`` for another vocabulary than the lock's, and for states narrower than its longest text.
    """

    move_names = ("slot",)

    def __init__(
        self,
        model: MaskedLM | Autoregressive,
        *,
        lock: Template,
        slots: Sequence[int] | None = None,
        truncation: Truncation | None = None,
    ) -> None:
        truncation = truncation or Truncation()
        self.writer: SlotWriter
        if isinstance(model, MaskedLM):
            self.writer = MaskedSlotWriter(model, truncation)
        else:
            self.writer = ReadingSlotWriter(model, truncation)
        if model.space.tokenizer.get_vocab() != lock.space.tokenizer.get_vocab():
            raise InvalidInput("the model has another vocabulary than the template; give one with the same")
        self.lock = lock
        numbers = [number for number, (_, most) in enumerate(lock.gaps) if most]
        chosen = range(len(numbers)) if slots is None else slots
        if not chosen or not all(0 <= slot < len(numbers) for slot in chosen):
            raise InvalidInput(f"slots is {list(chosen)}; give numbers from 0 to {len(numbers) - 1}, of {lock}")
        self._numbers = [numbers[slot] for slot in chosen]

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        if x.shape[1] < self.lock.max_length:
            raise InvalidInput(f"the states are {x.shape[1]} wide and the template takes {self.lock.max_length}")
        turn = torch.randint(len(self._numbers), (len(x),), device=rng.device, generator=rng).to(x.device)
        number = torch.tensor(self._numbers, device=x.device)[turn]
        found = self.lock.found(x)
        rows = found.nonzero().squeeze(1)
        new = x.clone()
        log_q = torch.zeros((2, len(x)), dtype=torch.float64, device=x.device)
        log_q[1] = -math.inf
        if len(rows):
            slots = self.slots(x[rows], number[rows])
            filled = self.writer(x[rows], slots, rng)
            new[rows] = joined(self.lock.space, x[rows], slots.start, slots.size, filled.y)
            back = self.can_undo(x[rows], slots, new[rows])
            log_q[:, rows] = torch.stack([filled.log_q, filled.log_q_old.masked_fill(~back, -math.inf)])
        return Proposed(new, *log_q)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all slots that can make it.

        Moves that are always rejected are not among them, but for those that keep a text.
        """
        fits = self.lock.found(x_from) & self.lock.found(x_to)
        total = torch.where((x_to == x_from).all(dim=1) & ~fits, 0.0, -math.inf).double()
        rows = fits.nonzero().squeeze(1)
        for number in self._numbers if len(rows) else []:
            slots = self.slots(x_to[rows], torch.full_like(rows, number))
            reached = self.can_undo(x_to[rows], slots, x_from[rows])
            log_q = self.writer.log_prob(x_to[rows], slots).masked_fill(~reached, -math.inf)
            total[rows] = torch.logaddexp(total[rows], log_q - math.log(len(self._numbers)))
        return total

    def slots(self, x: Tensor, number: Tensor) -> Slots:
        """Where the gap with that ``number int64 [rows]`` is in texts ``x int64 [rows, width]`` that fit."""
        held, text = self.lock.pieces(x), self.lock.space.is_token(x)
        column, before = torch.arange(x.shape[1], device=x.device), number.unsqueeze(1)
        start = ((column + 1) * ((held > 0) & (held <= before))).amax(dim=1)
        free = text & (held == 0) & (column >= start.unsqueeze(1))
        ahead = (held > before).long().cumsum(dim=1)
        bounds = torch.tensor(self.lock.gaps, device=x.device)[number]
        return Slots(start, (free & (ahead == 0)).sum(dim=1), *bounds.T)

    def can_undo(self, x: Tensor, slots: Slots, new: Tensor) -> Tensor:
        """``bool [rows]``: ``new`` has the same rest as ``x``, and the same slot to be emptied in it."""
        space = self.lock.space
        size = space.lengths(new) - space.lengths(x) + slots.size
        same = self.lock.found(new) & (size > 0)
        for text, other, fill in ((x, new, space.pad_id), (self.lock.pieces(x), self.lock.pieces(new), 0)):
            rest = without(text, slots.start, slots.size, fill), without(other, slots.start, size.clamp(min=0), fill)
            same &= (rest[0] == rest[1]).all(dim=1)
        return same
