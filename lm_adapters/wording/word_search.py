"""Find words and phrases in texts, as whole words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lm_adapters.word_edges import word_began, word_goes_on

__all__ = ["WordSearch"]


class WordSearch:
    """Finds any of ``words`` where it stands as a whole word (``lm_adapters.word_edges`` says when it does).

    Unicode form (NFKC), spaces around punctuation and, with ``ignore_case``, case make no difference.
    """

    def __init__(self, words: Sequence[str], ignore_case: bool) -> None:
        self.words, self.ignore_case = tuple(words), ignore_case
        self._patterns = [re.compile(_pattern(self._plain(word))) for word in words]
        self._any = re.compile("|".join(pattern.pattern for pattern in self._patterns))

    def find(self, text: str) -> str | None:
        """What of ``text`` is one of the words; ``None`` where none is in it."""
        text = self._plain(text)
        if not self._any.search(text):
            return None
        return next((found for pattern in self._patterns if (found := _whole(pattern, text))), None)

    def _plain(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
        return unicodedata.normalize("NFKC", text.casefold()) if self.ignore_case else text


def _whole(pattern: re.Pattern[str], text: str) -> str | None:
    """The first match of ``pattern`` that is a whole word."""
    match = pattern.search(text)
    while match and (word_began(text, match.start()) or word_goes_on(text, match.end())):
        match = pattern.search(text, match.start() + 1)
    return str(match[0]) if match else None


def _pattern(word: str) -> str:
    first, *others = re.findall(r"\w+|[^\w\s]", word)  # letters and digits together, every other character by itself
    pattern: str = re.escape(first)
    before = first
    for part in others:
        between_words = re.match(r"\w", before) and re.match(r"\w", part)
        pattern += (r"\s+" if between_words else r"\s*") + re.escape(part)
        before = part
    return pattern
