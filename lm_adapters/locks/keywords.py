"""Keywords that every text must hold and no move may change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from torch import Tensor

from lm_adapters.locks.base import Lock
from lm_adapters.locks.occurrences import PieceSearch
from lm_adapters.locks.piece import Piece
from lm_adapters.locks.span_matching import UNBOUNDED, first_in_order, longest_first, piece_numbers, tokens_after
from lm_adapters.text import TextSpace
from lm_adapters.word_edges import follows_words, is_letter
from samplers import InvalidInput

__all__ = ["Keywords"]


class Keywords(Lock):
    """Whole words or phrases, in the given order or any; a keyword given twice must occur twice.

    An occurrence is a whole word (``lm_adapters.word_edges`` has the rule): neither "ladders" nor "ladder's" nor
    "ladder-like" holds "ladder". It is tokenised as at the start of a text, where it stands there or behind a character
    or mark of a script without spaces between words (Chinese), or as after a space; a keyword that begins with a mark,
    or in such a script, also as after a letter. Where several of these are possible, each is an occurrence. They may
    hold tokens that are never proposed (the bytes of an emoji).

    Which occurrences are locked depends on the tokens of the state alone, by this rule. In order: each keyword at its
    leftmost place after the one before. In any order: keywords of more tokens first, then as given, each at its
    leftmost place that overlaps none of those before; a text where only another assignment fits counts as lacking one.

    Raises ``InvalidInput`` for no keywords, an empty one, and one that cannot be tokenised without a special or unknown
    token.
    """

    name = "keywords"

    def __init__(self, space: TextSpace, words: Sequence[str], any_order: bool = False) -> None:
        if not words:
            raise InvalidInput("there are no keywords; give at least one")
        self.space, self.words, self.any_order = space, tuple(words), any_order
        self.spelt = [Piece(space, _spellings(space, word)) for word in words]
        sizes = [max(map(len, piece.spellings)) for piece in self.spelt]
        self._precedence = sorted(range(len(words)), key=lambda index: -sizes[index])
        self.min_length = sum(min(map(len, piece.spellings)) for piece in self.spelt)

    def pieces(self, x: Tensor) -> Tensor:
        occurrences = self._occurrences(x)
        if self.any_order:
            return piece_numbers(*longest_first(occurrences, self._precedence, len(x)), x)
        gaps = [(0, UNBOUNDED)] * (len(self.spelt) + 1)
        return piece_numbers(*first_in_order(occurrences, gaps, self.space.lengths(x)), x)

    @cached_property
    def _occurrences(self) -> PieceSearch:
        return PieceSearch(self.spelt)

    def start_text(self, order: Sequence[int] | None = None) -> str:
        """The keywords joined by spaces, as given or in ``order``, a permutation of their numbers from 0.

        Raises ``InvalidInput`` if not every keyword is found in the tokens of that text.
        """
        text = " ".join(self.words[index].strip() for index in order or range(len(self.words)))
        if not bool(self.found(self.space.encode([text])).all()):
            raise InvalidInput(f"the tokens of {text!r} do not hold every keyword as a whole word; change the keywords")
        return text

    @property
    def clause(self) -> str:  # type: ignore[override]
        order = "" if len(self.words) == 1 else " in any order" if self.any_order else " in this order"
        return f"that hold {', '.join(map(repr, self.words))}{order}"

    def __str__(self) -> str:
        return f"the keywords {', '.join(map(repr, self.words))}"


def _spellings(space: TextSpace, word: str) -> list[tuple[int, ...]]:
    """The tokens of ``word`` at the start of a text, after a space and, for what is no word, after nothing."""
    word = word.strip()
    if not word:
        raise InvalidInput("a keyword is empty; give words")
    found = [space.tokenizer(word, add_special_tokens=False)["input_ids"]]
    for gap in (" ",) if is_letter(word[0]) else (" ", ""):
        with suppress(InvalidInput):  # the tokenizer joins it with a word before it
            found.append(tokens_after(space, word, gap))
    usable = [
        spelling for spelling in sorted(set(map(tuple, found))) if spelling and not space.cannot_be_text(spelling)
    ]
    if not usable:
        names = [str(space.tokenizer.convert_ids_to_tokens(token)) for token in found[0]]
        bad = [name for name, token in zip(names, found[0], strict=True) if space.cannot_be_text([token])]
        spelt = f"is spelt {' '.join(names)} here, and {bad[0]} is no text" if bad else "has no tokens here"
        raise InvalidInput(f"the keyword {word!r} {spelt}; use other words")
    if is_letter(word[0]):
        return usable
    if not follows_words(word[0]):
        return usable
    # A blank that moves may write need not be held: a text with it has the spelling without it.
    return [each for each in usable if not (each[1:] in usable and space.proposable[each[0]])]
