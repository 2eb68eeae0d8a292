"""Find locked pieces in batches of states: the places of one piece, and of several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["UNBOUNDED", "Piece", "first_in_order", "longest_first", "painted", "tokens_after"]

UNBOUNDED = 2**31
"""Most tokens of a gap without a bound."""


@dataclass(frozen=True)
class Piece:
    """Tokens that stand together, in any of their ``spellings``.

    It starts and ends where words do, except at a border that is ``glued``: there a word may go on across it.
    """

    spellings: Sequence[Sequence[int]]
    glued_left: bool = False
    glued_right: bool = False

    def sizes(self, space: TextSpace, x: Tensor) -> Tensor:
        """``int64 [chains, width + 1]``: tokens of the piece that starts at each column, 0 where none does."""
        continues = space.continues.to(x.device)
        width = x.shape[1]
        sizes = torch.zeros(len(x), width + 1, dtype=torch.int64, device=x.device)
        longest = max(map(len, self.spellings))
        tokens = pad(x, (0, longest), value=space.pad_id)
        ends_word = ~pad(continues[x], (0, longest + 1))
        for spelling in sorted(self.spellings, key=len, reverse=True):  # where two fit, the shorter counts
            size = len(spelling)
            here = tokens[:, : width + 1] == spelling[0]
            for offset in range(1, size):
                here &= tokens[:, offset : width + 1 + offset] == spelling[offset]
            if not self.glued_right:
                here &= ends_word[:, size : width + 1 + size]
            if not self.glued_left and space.continues[spelling[0]]:
                here[:, 1:] = False
            sizes = torch.where(here, size, sizes)
        return sizes


def first_in_order(
    sizes: Sequence[Tensor], gaps: Sequence[tuple[int, int]], inside: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The match of pieces in order with the smallest gaps, leftmost first.

    ``sizes`` as ``Piece.sizes`` gives them; ``gaps``: fewest and most tokens before each piece and after the last;
    ``inside``: ``bool [chains, width]``. Returns the starts, ``int64 [chains]`` for each piece, and ``bool [chains]``:
    there is a match (where there is none, the starts mean nothing).

    A dynamic programme from the right: ``steps[k][:, p]`` is the first column where piece ``k``, with all that follow
    it, can stand after ``p`` tokens. For gaps without bounds this is the greedy leftmost match.
    """
    end = inside.shape[1]
    columns = torch.arange(end + 1, device=inside.device)
    never = end + 1
    good = columns == inside.sum(dim=1, keepdim=True)  # the end of the text, after the last gap
    steps: list[Tensor] = []
    for index, (fewest, most) in reversed(list(enumerate(gaps))):
        nearest = torch.where(good, columns, never).flip(1).cummin(dim=1).values.flip(1)
        reached = pad(nearest, (0, fewest), value=never)[:, fewest:]
        steps.insert(0, reached.where(reached <= columns + most, never))
        if index > 0:
            size = sizes[index - 1]
            good = (size > 0) & (steps[0].gather(1, (columns + size).clamp(max=end)) < never)
    ends = torch.zeros(len(inside), 1, dtype=torch.int64, device=inside.device)
    starts = []
    for size, step in zip(sizes, steps[:-1], strict=True):
        start = step.gather(1, ends).clamp(max=end)
        starts.append(start.squeeze(1))
        ends = (start + size.gather(1, start)).clamp(max=end)
    return starts, steps[0][:, 0] < never


def longest_first(sizes: Sequence[Tensor], order: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Each piece, in the given order of precedence, at its leftmost place that overlaps no piece before it.

    Arguments and result as of ``first_in_order``.
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


def painted(sizes: Sequence[Tensor], starts: Sequence[Tensor], found: Tensor, x: Tensor) -> Tensor:
    """``int64 [chains, width]``: number of the piece that holds each column, from 1; 0 at none and where not found."""
    columns = torch.arange(x.shape[1], device=x.device)
    pieces = torch.zeros_like(x)
    for number, (size, start) in enumerate(zip(sizes, starts, strict=True), 1):
        start = start.unsqueeze(1)
        pieces[(columns >= start) & (columns < start + size.gather(1, start)) & found.unsqueeze(1)] = number
    return pieces


def tokens_after(space: TextSpace, text: str, gap: str) -> list[int]:
    """``text`` as the tokenizer cuts it after a word and ``gap``, a space or nothing.

    Raises ``InvalidInput`` where the tokenizer has no cut between the two.
    """
    for word in ascii_lowercase + digits:
        head, whole = space.tokenizer([word, word + gap + text], add_special_tokens=False)["input_ids"]
        if whole[: len(head)] == head and len(whole) > len(head):
            return whole[len(head) :]
    raise InvalidInput(f"the tokenizer cannot tell {text!r} from a word before it; use other characters or a space")
