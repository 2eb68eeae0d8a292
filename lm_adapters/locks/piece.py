"""One locked piece: the tokens that spell it, and where they stand as a word of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from lm_adapters.word_edges import (
    ENDS,
    JOINED,
    LETTER,
    MARKED,
    SCRIPT,
    UNSURE,
    follows_words,
    is_letter,
    leads_words,
    word_began,
    word_goes_on,
)

__all__ = ["ALLOWED", "EDGES", "FORBIDDEN", "START", "UNDECIDED", "Piece"]

START = 5  # no neighbour on the left, beside the kinds of ``lm_adapters.word_edges``
EDGES = (ENDS, LETTER, JOINED, MARKED, UNSURE, START, SCRIPT)
ALLOWED = 0
UNDECIDED = 1
FORBIDDEN = 2


@dataclass(frozen=True)
class Piece:
    """A run of adjacent tokens, in any of several tokenisations, ``spellings``.

    It starts and ends at word edges (``lm_adapters.word_edges``), except at a border that is ``glued``: a word may
    continue across that one. A spelling that would continue a word before it only counts at the start of a text, and
    behind a script that puts no spaces between words.
    """

    space: TextSpace
    spellings: Sequence[Sequence[int]]
    glued_left: bool = False
    glued_right: bool = False

    def spellings_at(self, column: int) -> list[Sequence[int]]:
        """The spellings that may stand there, as far as the column decides."""
        return [
            spelling
            for spelling, border in zip(self.spellings, self._borders, strict=True)
            if column == 0 or not border.at_start or self.space.has_unspaced
        ]

    def verdicts(self) -> list[tuple[list[int], list[int]]]:
        """For each spelling: what a neighbour of each kind of ``EDGES`` makes of it, on its left and on its right.

        One of ``ALLOWED``, ``UNDECIDED`` (the text tells, see ``stands``) and ``FORBIDDEN``.
        """
        return [
            (
                [ALLOWED if self.glued_left else border.left(edge) for edge in EDGES],
                [ALLOWED if self.glued_right else border.right(edge) for edge in EDGES],
            )
            for border in self._borders
        ]

    @cached_property
    def _borders(self) -> list[Border]:
        return [Border.of(text, self.space.sets_spaces) for text in self.space.after_word(self.spellings)]

    def stands(self, x: Tensor, rows: Tensor, starts: Tensor, size: int) -> Tensor:
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


class Border(NamedTuple):
    """Which neighbours, of the kinds in ``lm_adapters.word_edges``, make a spelling part of something longer.

    ``may_go_on`` and ``may_have_begun`` are those of which the text decides. ``at_start``: the spelling would continue
    a word before it, so that it only stands at the start of a text and behind a script without spaces.
    """

    at_start: bool
    began: list[int]
    may_have_begun: list[int]
    goes_on: list[int]
    may_go_on: list[int]

    @classmethod
    def of(cls, text: str, sets_spaces: bool) -> Border:
        """Of a spelling that writes ``text`` after a word, by a tokenizer that sets spaces between tokens or not."""
        first, last, spaced = text.strip()[:1], text.strip()[-1:], text[:1].isspace()
        at_start, mark = is_letter(first) and not spaced, not (is_letter(first) or follows_words(first))
        began = [LETTER] * (mark and not spaced and not sets_spaces)
        may_have_begun = [UNSURE] * (is_letter(first) and sets_spaces) + [UNSURE] * (mark and not spaced)
        may_have_begun += [LETTER, UNSURE] * (mark and sets_spaces)
        mark = not (is_letter(last) or leads_words(last))
        goes_on = [MARKED] + [LETTER] * (is_letter(last) or mark) + [JOINED] * is_letter(last)
        may_go_on = [UNSURE] + [ENDS] * (mark and sets_spaces)
        return cls(at_start, began, may_have_begun, goes_on, may_go_on)

    def left(self, edge: int) -> int:
        """The verdict on a spelling behind a neighbour of that kind."""
        if edge in (START, SCRIPT):
            edge = ENDS
        elif self.at_start:
            return FORBIDDEN
        return FORBIDDEN if edge in self.began else UNDECIDED if edge in self.may_have_begun else ALLOWED

    def right(self, edge: int) -> int:
        """The verdict on a spelling before a neighbour of that kind."""
        return FORBIDDEN if edge in self.goes_on else UNDECIDED if edge in self.may_go_on else ALLOWED
