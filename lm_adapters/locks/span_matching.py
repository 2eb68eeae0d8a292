"""Which occurrences of locked pieces in batches of states are the pieces: assignments of several."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["UNBOUNDED", "first_in_order", "longest_first", "piece_numbers", "tokens_after"]

UNBOUNDED = 2**31
"""The largest gap, in tokens, where a gap has no bound."""


def first_in_order(
    sizes: Sequence[Tensor], gaps: Sequence[tuple[int, int]], is_token: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The match of pieces in order with the smallest gaps, leftmost first.

    ``sizes``: from ``Piece.sizes``; ``gaps``: fewest and most tokens before each piece and after the last;
    ``is_token``: ``bool [chains, width]``. Returns the starts, ``int64 [chains]`` for each piece, and whether
    there is a match, ``bool [chains]`` (where there is none, the starts are arbitrary).

    Dynamic programming from the right: ``steps[k][:, p]`` is the first column where piece ``k``, with all that follow
    it, can start after ``p`` tokens. For gaps without bounds this is the greedy leftmost match.
    """
    end = is_token.shape[1]
    columns = torch.arange(end + 1, device=is_token.device)
    never = end + 1
    good = columns == is_token.sum(dim=1, keepdim=True)  # the end of the text, after the last gap
    steps: list[Tensor] = []
    for index, (fewest, most) in reversed(list(enumerate(gaps))):
        nearest = torch.where(good, columns, never).flip(1).cummin(dim=1).values.flip(1)
        reached = pad(nearest, (0, fewest), value=never)[:, fewest:]
        steps.insert(0, reached.where(reached <= columns + most, never))
        if index > 0:
            size = sizes[index - 1]
            good = (size > 0) & (steps[0].gather(1, (columns + size).clamp(max=end)) < never)
    ends = torch.zeros(len(is_token), 1, dtype=torch.int64, device=is_token.device)
    starts = []
    for size, step in zip(sizes, steps[:-1], strict=True):
        start = step.gather(1, ends).clamp(max=end)
        starts.append(start.squeeze(1))
        ends = (start + size.gather(1, start)).clamp(max=end)
    return starts, steps[0][:, 0] < never


def longest_first(sizes: Sequence[Tensor], order: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Each piece, in the given order of precedence, at its leftmost place that overlaps none placed before.

    ``sizes`` and the result as for ``first_in_order``.
    """
    end = sizes[0].shape[1] - 1
    columns = torch.arange(end + 1, device=sizes[0].device)
    taken = torch.zeros_like(sizes[0][:, :-1], dtype=torch.bool)
    found = torch.ones_like(taken[:, 0])
    starts: dict[int, Tensor] = {}
    for index in order:
        size = sizes[index]
        before = pad(taken.cumsum(dim=1), (1, 0))
        possible = (size > 0) & (before.gather(1, (columns + size).clamp(max=end)) == before)
        start = possible.long().argmax(dim=1, keepdim=True)
        found &= possible.any(dim=1)
        taken |= (columns[:-1] >= start) & (columns[:-1] < start + size.gather(1, start))
        starts[index] = start.squeeze(1)
    return [starts[index] for index in range(len(sizes))], found


def piece_numbers(sizes: Sequence[Tensor], starts: Sequence[Tensor], found: Tensor, x: Tensor) -> Tensor:
    """``int64 [chains, width]``: the number of the piece at each column, from 1; 0 for none and where not found."""
    columns = torch.arange(x.shape[1], device=x.device)
    pieces = torch.zeros_like(x)
    for number, (size, start) in enumerate(zip(sizes, starts, strict=True), 1):
        start = start.unsqueeze(1)
        pieces[(columns >= start) & (columns < start + size.gather(1, start)) & found.unsqueeze(1)] = number
    return pieces


def tokens_after(space: TextSpace, text: str, gap: str) -> list[int]:
    """Token ids of ``text`` after a word and ``gap``, a space or nothing.

    Raises ``InvalidInput`` where the tokenizer joins the text with the word before it.
    """
    for word in ascii_lowercase + digits:
        head, whole = space.tokenizer([word, word + gap + text], add_special_tokens=False)["input_ids"]
        if whole[: len(head)] == head and len(whole) > len(head):
            after: list[int] = whole[len(head) :]
            return after
    raise InvalidInput(f"the tokenizer cannot separate {text!r} from a word before it; use other characters or a space")
