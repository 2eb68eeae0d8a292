"""What counts as a word: those of a list, their regular forms, numbers, and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from experiments.judging.kneser_ney import split_words

__all__ = ["WordList"]

ENDINGS = {  # regular forms, and what stands in their place in the word that they come from
    "'s": ("",), "s": ("",), "es": ("",), "ies": ("y",), "ed": ("", "e"), "ied": ("y",), "ing": ("", "e"),
}  # fmt: skip
DOUBLING = ("ed", "ing")  # "stopped" comes from "stop"
SHORTEST = 3  # letters before an ending
NUMBER = re.compile(r"\d+(?:st|nd|rd|th|s)?")
BEFORE_A_START = frozenset(
    '.!?:"(-\u2014\u201c\u2018\u00ab'
)  # marks after which a capital letter need not begin a name


class WordList:
    """The words of ``texts``, in whatever case, and what a reader takes for words though no list has them all.

    These are numbers, marks, regular forms of listed words ("composes" of "compose"), and names: what begins with a
    capital letter inside a sentence. No list of another kind is needed, and held-out sentences rarely break it, though
    rare words that it lacks ("queasy") do.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._words = frozenset(word for text in texts for word in split_words(_plain(text)))

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are none, as they stand there."""
        words = split_words(text)
        return [word for place, word in enumerate(words) if not (self._has(word) or _is_name(words, place))]

    def _has(self, word: str) -> bool:
        word = _plain(word)
        if word in self._words or NUMBER.fullmatch(word) or not word[0].isalnum():
            return True
        return any(stem in self._words for stem in _stems(word))


def _plain(text: str) -> str:
    return text.lower().replace("\u2019", "'")


def _is_name(words: list[str], place: int) -> bool:
    return place > 0 and words[place][0].isupper() and words[place - 1] not in BEFORE_A_START


def _stems(word: str) -> Iterator[str]:
    """What the word would come from if it were a regular form."""
    for ending, replaced in ENDINGS.items():
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= SHORTEST:
            yield from (stem + letters for letters in replaced)
            if ending in DOUBLING and stem[-1] == stem[-2]:
                yield stem[:-1]
