"""Words of Chinese texts, which no blanks divide: a few runs of characters, drawn anew whenever a text is used."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.training.tasks.noise import SHUFFLED, gumbel, how_many, in_order

__all__ = ["keep_runs"]

LENGTHS = (0.3, 0.55, 0.15)  # of words: the shares of one, two and three characters


def keep_runs(rows: Tensor, pad_id: int, space_id: int, is_character: Tensor, rng: torch.Generator) -> Tensor:
    """A few runs of characters of each text, in its order or another, with a blank between two: ``春风 明月``.

    ``rows int64 [rows, width]``, padded at the right, as is what is returned; ``is_character bool [vocabulary]`` of
    what may stand in a word: marks divide words and belong to none. Noise is drawn from ``rng`` alone.
    """
    count, width = rows.shape
    inner = is_character[rows]
    shape = (count, width + 1)
    drawn = 1 + torch.multinomial(torch.tensor(LENGTHS), count * width, replacement=True, generator=rng)
    begins = drawn.view(count, width).cumsum(dim=1).clamp_max(width)
    first = torch.zeros(shape, dtype=torch.bool).scatter(1, begins, True)[:, :width]
    after_mark = torch.nn.functional.pad(~inner[:, :-1], (1, 0), value=True)
    block = (first | ~inner | after_mark).cumsum(dim=1)
    is_word = torch.zeros(shape, dtype=torch.int64).scatter_reduce(1, block, inner.long(), "amax") > 0
    rank = gumbel(shape, rng).masked_fill(~is_word, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    kept = (is_word & (rank < how_many(is_word.sum(dim=1, keepdim=True), rng))).gather(1, block)
    shuffled = torch.rand(count, 1, generator=rng) < SHUFFLED
    place = torch.where(shuffled, torch.rand(shape, generator=rng), torch.arange(width + 1) / (width + 1))
    order = place.gather(1, block) + torch.arange(width) * 1e-5  # the characters of a word stay together
    last = kept & (torch.nn.functional.pad(block[:, 1:], (0, 1), value=-1) != block)
    last &= order != order.masked_fill(~kept, -1).amax(dim=1, keepdim=True)  # no blank at the end
    blanks = torch.full_like(rows, pad_id).masked_fill(last, space_id)
    words = rows.masked_fill(~kept, pad_id)
    return in_order(torch.cat([words, blanks], dim=1), torch.cat([order, order + 5e-6], dim=1), pad_id)
