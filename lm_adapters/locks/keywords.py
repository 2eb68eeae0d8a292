"""Keywords that every text must hold and no move may change."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lm_adapters.locks.base import Lock
from lm_adapters.locks.span_matching import UNBOUNDED, Piece, first_in_order, longest_first, piece_numbers, tokens_after
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["Keywords"]


class Keywords(Lock):
    """Whole words or phrases, in the given order or any; a keyword given twice must occur twice.

    A keyword may be tokenised as at the start of a text or as after a space. An occurrence is a whole word: except at
    the start of the text, no token continues a word at either end of it (``TextSpace.continues_word``); an apostrophe
    or a hyphen ends a word.

    Which occurrences are locked depends on the tokens of the state alone, by this rule. In order: each keyword at its
    leftmost place after the one before. In any order: keywords of more tokens first, then as given, each at its
    leftmost place that overlaps none of those before; a text where only another assignment fits counts as lacking one.

    Raises ``InvalidInput`` for no keywords, an empty one, and one with parts that the tokenizer cannot represent or
    that are never proposed (special tokens, pieces of a character).
    """

    name = "keywords"

    def __init__(self, space: TextSpace, words: Sequence[str], any_order: bool = False) -> None:
        if not words:
            raise InvalidInput("there are no keywords; give at least one")
        self.space, self.words, self.any_order = space, tuple(words), any_order
        self._pieces = [_piece(space, word) for word in words]
        sizes = [max(map(len, piece.spellings)) for piece in self._pieces]
        self._precedence = sorted(range(len(words)), key=lambda index: -sizes[index])
        self.min_length = sum(min(map(len, piece.spellings)) for piece in self._pieces)

    def pieces(self, x: Tensor) -> Tensor:
        sizes = [piece.sizes(self.space, x) for piece in self._pieces]
        if self.any_order:
            starts, found = longest_first(sizes, self._precedence)
        else:
            gaps = [(0, UNBOUNDED)] * (len(sizes) + 1)
            starts, found = first_in_order(sizes, gaps, self.space.is_token(x))
        return piece_numbers(sizes, starts, found, x)

    def start_text(self, order: Sequence[int] | None = None) -> str:
        """The keywords joined by spaces, as given or in ``order``, a permutation of their numbers from 0.

        Raises ``InvalidInput`` if not every keyword is found in the tokens of that text.
        """
        text = " ".join(self.words[index].strip() for index in order or range(len(self.words)))
        if not bool(self.found(self.space.encode([text])).all()):
            raise InvalidInput(f"the tokens of {text!r} do not hold every keyword as a whole word; change the keywords")
        return text

    def __str__(self) -> str:
        return f"the keywords {', '.join(map(repr, self.words))}"


def _piece(space: TextSpace, word: str) -> Piece:
    word = word.strip()
    if not word:
        raise InvalidInput("a keyword is empty; give words")
    spellings = {tuple(tokens_after(space, word, " "))}
    spellings.add(tuple(space.tokenizer(word, add_special_tokens=False)["input_ids"]))
    for spelling in spellings:
        if not spelling or not bool(space.proposable[list(spelling)].all()):
            raise InvalidInput(f"the keyword {word!r} has parts that are not plain tokens here; use other words")
    return Piece(sorted(spellings))
