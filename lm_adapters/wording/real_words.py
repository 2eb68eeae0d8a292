"""Texts in real words: those of a list."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm_adapters.pretrained import words_path
from lm_adapters.text import TextSpace
from lm_adapters.wording.words import plain_words, word_spans
from samplers import Constraint, InvalidInput

__all__ = ["RealWords", "WordList"]

POSSESSIVE = "'s"
NUMBER = re.compile(r"\d+(?:st|nd|rd|th|s)?")


class WordList:
    """Words that count as real; ``missing`` finds those of a text that do not.

    Words are those of ``word_spans``: letters and digits, with apostrophes inside; both halves of "well-known" are
    words. Case, and the form of apostrophes and letters (NFKC), make no difference. Numbers are words ("3rd" too),
    and so is a word of the list with "'s". Whatever stands in ``words`` is split likewise.

    ``name`` is how a target calls texts in these words. Raises ``InvalidInput`` for a list without a word.
    """

    def __init__(self, words: Iterable[str], name: str = "in real words") -> None:
        self.words = frozenset(word for line in words for word in plain_words(line))
        self.name = name
        if not self.words:
            raise InvalidInput("the word list has no word; give one word a line")

    @classmethod
    def read(cls, path: str | Path) -> WordList:
        """From a UTF-8 file with a word a line, perhaps gzipped. Raises ``InvalidInput`` for one that cannot be."""
        return _read(str(path))

    @classmethod
    def english(cls) -> WordList:
        """The list that ships with the library: all words of the sentences that its models were trained on."""
        return _english()

    def missing(self, text: str) -> list[str]:
        """Words of ``text`` that are not real, as it writes them."""
        text = unicodedata.normalize("NFKC", text)
        spans = (text[start:end] for start, end in word_spans(text))
        return [word for word in spans if not all(map(self._is_real, plain_words(word)))]

    def _is_real(self, word: str) -> bool:
        return word in self.words or word.removesuffix(POSSESSIVE) in self.words or bool(NUMBER.fullmatch(word))

    def plus(self, texts: Iterable[str], space: TextSpace | None = None) -> WordList:
        """With the words of ``texts``, and with all words as ``space`` writes them, perhaps without accents."""
        more = [*texts]
        if space is not None and "no accents" in space.lost:
            more += map(_without_accents, [*self.words, *more])
        return WordList([*self.words, *more], self.name) if more else self

    def config(self) -> dict[str, Any]:
        """What draws depend on: the words, by digest."""
        return {"words": self._digest}

    @cached_property
    def _digest(self) -> str:
        return sha256("\n".join(sorted(self.words)).encode()).hexdigest()


class RealWords(Constraint):
    """0 nats where every word of the decoded text is in a list, ``+inf`` elsewhere.

    ``words``: by default those of ``WordList.english()``; what ``given`` texts hold counts as real too. Moves that
    change one token cross from a word to another of several tokens only by way of words: mix in moves of more tokens.
    """

    def __init__(self, space: TextSpace, words: WordList | None = None, *, given: Sequence[str] = ()) -> None:
        listed = (words or WordList.english()).plus(given, space)

        def allowed(x: Tensor) -> Tensor:
            return torch.tensor([not listed.missing(text) for text in space.decode(x)], device=x.device)

        super().__init__("real words", allowed)
        self.clause, self.space, self.words = listed.name, space, listed

    def config(self) -> dict[str, Any]:
        return {"space": self.space, "words": self.words}


@cache
def _english() -> WordList:
    return _read(str(words_path()), "in real words")


@cache
def _read(path: str, name: str | None = None) -> WordList:
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"the word list {path!r} cannot be read ({reason}); give a UTF-8 file") from error
    if not word_spans(text):
        raise InvalidInput(f"the word list {path!r} has no word; give one word a line")
    return WordList(text.splitlines(), name or f"in words of {Path(path).name!r}")


def _without_accents(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
