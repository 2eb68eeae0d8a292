"""Texts in real words: which list, and what it has to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import WordList

__all__ = ["check_words", "word_list"]


def word_list(settings: Settings, *, usual: bool) -> WordList | None:
    """The user's list, ours where it is asked for or ``usual``, or ``None``: any words will do.

    Raises ``InvalidInput`` for a file that is no list of words.
    """
    from lm_adapters import WordList

    if settings.word_list is not None:
        return WordList.read(settings.word_list)
    return WordList.english() if settings.real_words or (usual and settings.real_words is None) else None


def check_words(settings: Settings, name: str, texts: Sequence[str]) -> None:
    """Raise ``InvalidInput`` where the user's list lacks a word of the ``texts`` that were given as ``name``."""
    from samplers import InvalidInput

    listed = None if settings.word_list is None else word_list(settings, usual=False)
    missing = [] if listed is None else [repr(word) for text in texts for word in listed.missing(text)]
    if missing:
        words = ", ".join(dict.fromkeys(missing))
        raise InvalidInput(
            f"{argument('word_list')} {settings.word_list!r} lacks {words} of {argument(name)}; add it, or leave "
            f"{argument('word_list')} out"
        )
