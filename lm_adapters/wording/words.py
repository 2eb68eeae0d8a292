"""Words of a text: forbidden ones, how many it may have, and runs of them that it repeats."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from lm_adapters.word_edges import HAN
from lm_adapters.wording.word_search import WordSearch
from samplers import Constraint, EnergyTerm, InvalidInput

__all__ = [
    "ForbiddenWords",
    "RepeatedNgrams",
    "WordLimit",
    "check_compatible",
    "plain_words",
    "repeated_ngrams",
    "word_spans",
]

WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+(?:['\u2019][^\W{HAN}]+)*")


class ForbiddenWords(Constraint):
    """0 nats where none of ``words`` occurs in the decoded text, ``+inf`` elsewhere.

    Words match as a whole: "dog" forbids "(Dog)", but not "dogs", "dog's" or "dog-like", which are other words; so it
    is with ``Keywords``. A phrase of several words is one item. The decoded text is searched, so tokenisation, spaces
    around punctuation and Unicode form (NFKC) make no difference; each word is also searched for as the tokenizer
    writes it (perhaps without accents).

    Raises ``InvalidInput`` for an empty list and for an empty word.
    """

    def __init__(self, space: TextSpace, words: Sequence[str], ignore_case: bool = True) -> None:
        if isinstance(words, str) or not words:
            raise InvalidInput(f"the forbidden words are {words!r}; give a list of at least one")
        if any(not word.strip() for word in words):
            raise InvalidInput(f"one of the forbidden words {list(words)} is empty; take it out")
        written = space.tokenizer.batch_decode(space.tokenizer(list(words), add_special_tokens=False)["input_ids"])
        search = WordSearch([*words, *filter(str.strip, written)], ignore_case)

        def allowed(x: Tensor) -> Tensor:
            found = [search.find(text) is not None for text in space.decode(x)]
            return ~torch.tensor(found, dtype=torch.bool, device=x.device)

        super().__init__("forbidden words", allowed)
        self.clause = f"without {', '.join(map(repr, words))}"


class WordLimit(Constraint):
    """0 nats for decoded texts of at most ``max_words`` words, ``+inf`` elsewhere.

    A word is a run of letters and digits, with apostrophes inside it, or one Chinese character. Both halves of
    "well-known" count, so that words cannot be joined to count as one: a text within this limit is within it by any
    other way of counting too.

    Raises ``InvalidInput`` for a limit below 1.
    """

    def __init__(self, space: TextSpace, max_words: int) -> None:
        if max_words < 1:
            raise InvalidInput(f"max_words is {max_words}; give at least 1")

        def fits(x: Tensor) -> Tensor:
            counts = [len(word_spans(text)) for text in space.decode(x)]
            return torch.tensor(counts, device=x.device) <= max_words

        super().__init__("words", fits)
        self.clause = f"of at most {max_words} word{'s' * (max_words > 1)}"


class RepeatedNgrams(EnergyTerm):
    """One nat for each run of ``n`` words that has come before in the text: multiply it by a weight.

    "the cat and the cat" repeats one pair. Words are those of ``word_spans``; case and punctuation make no difference.
    With ``n=1`` every repeated word counts, "the" too. Raises ``InvalidInput`` for ``n`` below 1.
    """

    lower_bound = 0.0

    def __init__(self, space: TextSpace, n: int = 2) -> None:
        if n < 1:
            raise InvalidInput(f"n is {n}; give the number of words of a run, at least 1")
        self.space, self.n, self.name = space, n, "repeats"

    def texts(self, x: Tensor) -> list[str]:
        return self.space.decode(x)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        counts = [repeated_ngrams(text, self.n)[0] for text in self.space.decode(x)]
        return torch.tensor(counts, dtype=torch.float64, device=x.device)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end in ``text`` of each word that ``WordLimit`` counts; each Chinese character is one."""
    return [match.span() for match in WORD.finditer(text)]


def plain_words(text: str) -> list[str]:
    """The words of ``text`` in one form of letters and apostrophes (NFKC), without case."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2019", "'")
    return [plain[start:end] for start, end in word_spans(plain)]


def repeated_ngrams(text: str, n: int) -> tuple[int, int]:
    """How many of the runs of ``n`` words of a text have come before in it, and how many there are."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = [plain[start:end] for start, end in word_spans(plain)]
    runs = list(zip(*(words[place:] for place in range(n)), strict=False))
    return len(runs) - len(set(runs)), len(runs)


def check_compatible(
    keywords: Sequence[str],
    tokens: int,
    *,
    forbidden: Sequence[str] = (),
    max_length: int | None = None,
    max_words: int | None = None,
    ignore_case: bool = True,
) -> None:
    """Raise ``InvalidInput``, naming both, where no text can hold the keywords and meet another constraint.

    ``tokens`` is the smallest number of tokens for all keywords together (``Keywords.min_length``), ``max_length`` the
    most that a text may have; the other arguments are those of ``ForbiddenWords`` and ``WordLimit``.
    """
    for keyword in keywords if forbidden else ():
        if found := WordSearch(forbidden, ignore_case).find(keyword):
            raise InvalidInput(f"the keyword {keyword!r} holds the forbidden word {found!r}; drop one of the two")
    listed = ", ".join(map(repr, keywords))
    if max_length is not None and tokens > max_length:
        raise InvalidInput(f"the keywords {listed} take {tokens} tokens, a text has at most {max_length}; allow more")
    words = sum(len(WORD.findall(keyword)) for keyword in keywords)
    if max_words is not None and words > max_words:
        raise InvalidInput(f"the keywords {listed} are {words} words, a text has at most {max_words}; allow more")
