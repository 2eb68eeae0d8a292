"""One locked piece: the tokens that spell it, and where they stand as a word of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace
from lm_adapters.word_edges import (
    ENDS,
    JOINED,
    LETTER,
    MARKED,
    UNSURE,
    follows_words,
    is_letter,
    leads_words,
    word_began,
    word_goes_on,
)

__all__ = ["Piece"]


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
        after, before = self.space.word_edges(x)
        after, before = pad(after, (0, longest + 1), value=ENDS), pad(before, (1, 0), value=ENDS)
        for spelling, border in zip(self.spellings, self._borders, strict=True):
            size = len(spelling)
            here = tokens[:, : width + 1] == spelling[0]
            for offset in range(1, size):
                here &= tokens[:, offset : width + 1 + offset] == spelling[offset]
            unsure = torch.zeros_like(here)
            if not self.glued_right:
                edge = after[:, size : width + 1 + size]
                here &= ~_one_of(edge, border.goes_on)
                unsure |= _one_of(edge, border.may_go_on)
            if not self.glued_left:
                here[:, 1:] &= not border.at_start
                here &= ~_one_of(before, border.began)
                unsure |= _one_of(before, border.may_have_begun)
            if bool((unsure := unsure & here).any()):
                rows, starts = unsure.nonzero(as_tuple=True)
                here[rows, starts] = self._stand(x, rows, starts, size)
            sizes = torch.where(here, size, sizes)
        return sizes

    def spellings_at(self, column: int) -> list[Sequence[int]]:
        """The spellings that may stand there, as far as the column decides."""
        return [
            spelling
            for spelling, border in zip(self.spellings, self._borders, strict=True)
            if column == 0 or not border.at_start
        ]

    @cached_property
    def _borders(self) -> list[Border]:
        return [Border.of(text, self.space.sets_spaces) for text in self.space.after_word(self.spellings)]

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


class Border(NamedTuple):
    """Which neighbours, of the kinds in ``lm_adapters.word_edges``, make a spelling part of something longer.

    ``may_go_on`` and ``may_have_begun`` are those of which the text decides. ``at_start``: the spelling would continue
    a word before it, so that it only stands at the start of a text.
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


def _one_of(edges: Tensor, kinds: list[int]) -> Tensor:
    return reduce(or_, (edges == kind for kind in kinds), torch.zeros_like(edges, dtype=torch.bool))
