"""Find locked pieces in batches of states: occurrences of one piece, and assignments of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace
from lm_adapters.word_edges import ENDS, GOES_ON, MARKED, UNSURE, is_letter, word_began, word_goes_on
from samplers import InvalidInput

__all__ = ["UNBOUNDED", "Piece", "first_in_order", "longest_first", "piece_numbers", "tokens_after"]

UNBOUNDED = 2**31
"""The largest gap, in tokens, where a gap has no bound."""


@dataclass(frozen=True)
class Piece:
    """A run of adjacent tokens, in any of several tokenisations, ``spellings``.

    It starts and ends at word edges (``lm_adapters.word_edges``), except at a border that is ``glued``: a word may
    continue across that one. A spelling that would continue a word before it only counts at the start of a text.
    """

    space: TextSpace
    spellings: Sequence[Sequence[int]]
    glued_left: bool = False
    glued_right: bool = False

    def sizes(self, x: Tensor) -> Tensor:
        """``int64 [chains, width + 1]``: the length of the piece that starts at each column, 0 where none starts."""
        width = x.shape[1]
        sizes = torch.zeros(len(x), width + 1, dtype=torch.int64, device=x.device)
        longest = max(map(len, self.spellings))
        tokens = pad(x, (0, longest), value=self.space.pad_id)
        after, joins = self.space.word_edges(x)
        after, joins = pad(after, (0, longest + 1), value=ENDS), pad(joins, (1, 0))
        for spelling, (glued, first, last) in zip(self.spellings, self._borders, strict=True):
            size = len(spelling)
            here = tokens[:, : width + 1] == spelling[0]
            for offset in range(1, size):
                here &= tokens[:, offset : width + 1 + offset] == spelling[offset]
            unsure = torch.zeros_like(here)
            if not self.glued_right:
                edge = after[:, size : width + 1 + size]
                here &= (edge != MARKED) & ((edge != GOES_ON) if last else True)
                unsure |= edge == UNSURE
            if not self.glued_left and first:
                here[:, 1:] &= not glued
                unsure |= joins
            if bool((unsure := unsure & here).any()):
                rows, starts = unsure.nonzero(as_tuple=True)
                here[rows, starts] = self._stand(x, rows, starts, size)
            sizes = torch.where(here, size, sizes)
        return sizes

    def spellings_at(self, column: int) -> list[Sequence[int]]:
        """The spellings that may stand there, as far as the column decides."""
        return [
            spelling
            for spelling, (glued, first, _) in zip(self.spellings, self._borders, strict=True)
            if column == 0 or not (glued and first)
        ]

    @cached_property
    def _borders(self) -> list[tuple[bool, bool, bool]]:
        """Of each spelling: whether it would continue a word before it, and whether a letter is at either end."""
        found = []
        for text in self.space.after_word(self.spellings):
            first, last = (is_letter(char) for char in (text.strip()[:1], text.strip()[-1:]))
            found.append((word_goes_on("a" + text, 1), first, last))
        return found

    def _stand(self, x: Tensor, rows: Tensor, starts: Tensor, size: int) -> Tensor:
        """``bool [places]``: whether the text of each row has a word edge on both sides of its place."""
        whole, columns = x[rows], torch.arange(x.shape[1], device=x.device)
        parts = [whole.masked_fill(columns >= end.unsqueeze(1), self.space.pad_id) for end in (starts, starts + size)]
        texts, before, through = (self.space.decode(part) for part in (whole, *parts))
        stand = [
            (self.glued_left or not word_began(text, _place(text, len("".join(left.split())) + 1) - 1))
            and (self.glued_right or not word_goes_on(text, _place(text, len("".join(inner.split())))))
            for text, left, inner in zip(texts, before, through, strict=True)
        ]
        return torch.tensor(stand, device=x.device)


def _place(text: str, count: int) -> int:
    """Where the first ``count`` characters of ``text`` that are no spaces end."""
    return next(
        (at for at, n in enumerate(accumulate(not char.isspace() for char in text), 1) if n == count), len(text)
    )


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
