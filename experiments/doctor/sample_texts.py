"""Texts on which an energy is tried: English as it is drawn, and odd ones, such as a run may meet all the same."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ENGLISH", "ODD", "texts_of_words"]

ENGLISH = (
    "He was sitting by the window when the music stopped.",
    "She sells sea shells by the sea shore.",
    "What did you do last night?",
    "I like to play the piano.",
    "Tom is here.",
    "The old house stood at the end of a long road, and nobody had lived in it for years.",
    "It's not what you think!",
    "We bought two tickets for 15 dollars each.",
    "They told me that the train from Boston would be late again.",
    "Please close the door.",
    "Dr. Smith's brother-in-law lives in a small town near the sea.",
    "My father never talked about the war.",
    "How much is this book?",
    "All of the children wanted to see the big black bear.",
    '"I have no idea," said Mary.',
    "The cat sat on the mat.",
)
ODD = (
    "",
    " ",
    "music",
    ".",
    "A",
    "word " * 300,
    "the the the the the the",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ALL CAPITALS HERE",
    "3.14159 42 -7",
    "Привет, как дела?",
    "你好,世界。",
    "مرحبا بالعالم",
    "Der Straßenkäfer fraß äußerst müde Öl.",
    "I love it 🙂👍🏽!",
    "two\nlines\tand a tab",
    "e\u0301tude with a combining accent",
)

PASSAGE = """
the sea is old and he was not here when a house by the road fell down in the night of my last year at home with nobody
but me to see it go
"""


def texts_of_words(count: int, words: int, start: int = 0) -> Sequence[str]:
    """``count`` different texts of so many words each, others for another ``start``."""
    known = PASSAGE.split()
    return [
        " ".join(known[(start + text * 7 + place * (1 + text % 5)) % len(known)] for place in range(words))
        + f" {start + text}."
        for text in range(count)
    ]
