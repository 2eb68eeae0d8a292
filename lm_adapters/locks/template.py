"""A text with slots; the text between them is frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lm_adapters.locks.base import Lock
from lm_adapters.locks.occurrences import PieceSearch
from lm_adapters.locks.piece import Piece
from lm_adapters.locks.span_matching import first_in_order, piece_numbers, tokens_after
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["Template"]

SLOT = re.compile(r"(\[MASK[^\]]*\]?)")
COUNTS = re.compile(r"\[MASK(?::(\d+)(?:-(\d+))?)?\]")


class Template(Lock):
    """``"The [MASK] sat on the [MASK:1-4]."``: ``[MASK]`` is one token, ``[MASK:2]`` two, ``[MASK:1-4]`` one to four.

    A slot is written ``[MASK]`` whatever the tokenizer's mask token is; slots with only spaces between them are merged.
    The whole text must match. Where it can match in several ways, because a slot repeats frozen text, the slots are as
    short as possible, the leftmost first: the frozen sites depend on the tokens alone.

    Frozen text is tokenised as in its place. After a space the first token of a slot must not continue the frozen word;
    where the template has no space, ``"un[MASK]able"``, it may.

    ``slots``: fewest and most tokens of each. Raises ``InvalidInput`` for a template without slots, for a slot that is
    malformed, empty or has its counts in the wrong order, and for text that the tokenizer cannot represent.
    """

    name = "template"

    def __init__(self, space: TextSpace, text: str) -> None:
        self.space, self.text = space, text
        parts = SLOT.split(text)  # frozen, slot, frozen, ..., slot, frozen
        if len(parts) == 1:
            raise InvalidInput(f"the template {text!r} has no slot; put in at least one [MASK]")
        self._pieces: list[Piece] = []
        self.gaps: list[tuple[int, int]] = [(0, 0)]
        for index, part in enumerate(parts):
            if index % 2:
                fewest, most = _counts(part)
                self.gaps[-1] = (self.gaps[-1][0] + fewest, self.gaps[-1][1] + most)
            elif part.strip():
                spelling = _tokens(space, part, first=index == 0)
                self._pieces.append(Piece(space, [spelling], glued_left=True, glued_right=not part[-1].isspace()))
                self.gaps.append((0, 0))
        frozen = sum(len(piece.spellings[0]) for piece in self._pieces)
        self.slots = [gap for gap in self.gaps if gap[1] > 0]
        self.min_length = frozen + sum(fewest for fewest, _ in self.slots)
        self.max_length = frozen + sum(most for _, most in self.slots)

    def pieces(self, x: Tensor) -> Tensor:
        return self.search(x)[0]

    def _search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.space.lengths(x)
        if not self._pieces:
            fewest, most = self.gaps[0]
            return torch.zeros_like(x), (lengths >= fewest) & (lengths <= most)
        start, size, found = first_in_order(self._occurrences(x), self.gaps, lengths)
        return piece_numbers(start, size, found, x), found

    @cached_property
    def _occurrences(self) -> PieceSearch:
        return PieceSearch(self._pieces)

    def masks(self, counts: Sequence[Sequence[int]], width: int | None = None) -> Tensor:
        """``int64 [texts, width]``: the template with mask tokens in its slots, for ``fill_masks``.

        ``counts``: for each text the number of tokens in each of ``slots``. ``width``: by default that of the longest.
        Raises ``InvalidInput`` for counts that a slot does not allow or that do not fit in ``width``.
        """
        rows = [self._row(each) for each in counts]
        width = width or max(map(len, rows))
        if max(map(len, rows)) > width:
            raise InvalidInput(f"{self} with {max(map(len, rows))} tokens is longer than {width}; give shorter slots")
        return torch.tensor([row + [self.space.pad_id] * (width - len(row)) for row in rows])

    @property
    def clause(self) -> str:  # type: ignore[override]
        return f"that fit {self.text!r}"

    def __str__(self) -> str:
        return f"the template {self.text!r}"

    def _row(self, counts: Sequence[int]) -> list[int]:
        if len(counts) != len(self.slots) or any(
            not fewest <= n <= most for n, (fewest, most) in zip(counts, self.slots, strict=True)
        ):
            allowed = ", ".join(f"{fewest} to {most}" for fewest, most in self.slots)
            raise InvalidInput(f"the slots of {self.text!r} take {allowed} tokens, not {list(counts)}")
        if self.space.mask_id is None:
            raise InvalidInput("the tokenizer has no mask token; start from a text")
        left = iter(counts)
        row: list[int] = []
        for index, (_, most) in enumerate(self.gaps):
            row += [self.space.mask_id] * (next(left) if most else 0)
            row += self._pieces[index].spellings[0] if index < len(self._pieces) else []
        return row


def _counts(slot: str) -> tuple[int, int]:
    match = COUNTS.fullmatch(slot)
    if match is None:
        raise InvalidInput(f"the slot {slot!r} is malformed; write [MASK], [MASK:2] or [MASK:1-4]")
    fewest = int(match[1] or 1)
    most = int(match[2] or fewest)
    if not 1 <= fewest <= most:
        raise InvalidInput(f"the slot {slot!r} has room for {fewest} to {most} tokens; give 1 or more, fewest first")
    return fewest, most


def _tokens(space: TextSpace, part: str, first: bool) -> list[int]:
    text, tokenizer = part.strip(), space.tokenizer
    if first:
        spelling: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        spelling = tokens_after(space, text, " " if part[0].isspace() else "")
    if not spelling or space.cannot_be_text(spelling):
        raise InvalidInput(space.what_is_wrong(text, spelling))
    return spelling
