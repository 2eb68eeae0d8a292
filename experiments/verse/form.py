"""The form of a couplet: two lines of five or seven Chinese characters, and places for words in them."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["Form", "is_chinese"]

CHARACTER = "[\u4e00-\u9fff]"
MARKS = "，。 "


def is_chinese(text: str) -> bool:
    return re.fullmatch(f"{CHARACTER}+", text) is not None


@dataclass(frozen=True)
class Form:
    """Of what is written: both lines, of ``size`` characters, or the second to a ``first`` one, which has a comma."""

    size: int
    first: str | None = None

    @staticmethod
    def of(first: str | None, size: int) -> Form:
        """For a first line, with its marks or not, or two of ``size``. Raises ``ValueError`` for what is no line."""
        if first is None:
            return Form(size)
        line = first.strip(MARKS)
        if not is_chinese(line) or len(line) not in (5, 7):
            raise ValueError(f"{first!r} is no line of five or seven Chinese characters")
        return Form(len(line), f"{line}，")

    @property
    def lines(self) -> int:
        return 1 if self.first else 2

    @property
    def length(self) -> int:
        """Of what is written, marks too."""
        return self.lines * (self.size + 1)

    @property
    def pattern(self) -> str:
        return self._with_marks([f"{CHARACTER}{{{self.size}}}"] * self.lines)

    def template(self, words: Sequence[str]) -> str | None:
        """The words in their lines with slots behind them; ``None`` if they do not fit, or leave no slot."""
        for places in product(range(self.lines), repeat=len(words)):
            lines = ["".join(word for word, at in zip(words, places, strict=True) if at == line)
                     for line in range(self.lines)]  # fmt: skip
            room = [self.size - len(line) for line in lines]
            if min(room) >= 0 and max(room) > 0:
                slots = [f"[MASK:{left}]" * (left > 0) for left in room]
                return self._with_marks([line + slot for line, slot in zip(lines, slots, strict=True)])
        return None

    def _with_marks(self, lines: Sequence[str]) -> str:
        return "，".join(lines) + "。"
