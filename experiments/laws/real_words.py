"""Texts in real words: which list, and what it has to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from lm_adapters import WordList

__all__ = ["check_words", "word_list"]


def word_list(path: str | None, wanted: bool | None) -> WordList | None:
    """The user's list, ours where it is ``wanted``, or ``None``: any words will do.

    Raises ``InvalidInput`` for a file that is no list of words.
    """
    from lm_adapters import WordList

    if path is not None:
        return WordList.read(path)
    return WordList.english() if wanted else None


def check_words(path: str | None, name: str, texts: Sequence[str]) -> None:
    """Raise ``InvalidInput`` where the user's list lacks a word of the ``texts`` that were given as ``name``."""
    from samplers import InvalidInput

    listed = word_list(path, wanted=False)
    missing = [] if listed is None else [repr(word) for text in texts for word in listed.missing(text)]
    if missing:
        words = ", ".join(dict.fromkeys(missing))
        raise InvalidInput(
            f"{argument('word_list')} {path!r} lacks {words} of {argument(name)}; add it, or leave "
            f"{argument('word_list')} out"
        )
