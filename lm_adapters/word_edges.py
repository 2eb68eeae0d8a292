"""Where a word ends: one rule for keywords and for forbidden words, in texts and, as far as they show it, in tokens.

A word ends where its letters and digits do, unless an apostrophe or a hyphen joins them to more of them: neither
"ladder's" nor "ladder-like" holds the word "ladder"; "(ladder)", "ladder." and "'ladder'" do. In scripts that put no
spaces between words (Chinese, Japanese, Thai, ...) a word may stand anywhere. No word ends within a character: a mark
that combines with what is before it belongs to it.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "ENDS",
    "GOES_ON",
    "MARKED",
    "UNSURE",
    "edge_after_word",
    "is_letter",
    "may_join",
    "word_began",
    "word_goes_on",
]

ENDS, GOES_ON, MARKED, UNSURE = range(4)
"""What a token does to the word before it: it ends there, its letters go on, even its last character goes on, or only
the text can tell."""

JOINS = "'\u2019\u02bc\uff07-\u2010\u2011\uff0d\u00ad\u200c"  # apostrophes, hyphens, and the non-joiner of Persian
UNSPACED = re.compile(  # Thai to Tibetan, Burmese, Khmer and their neighbours, kana and bopomofo, Han
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f\u3005-\u3007\u3040-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
INCOMPLETE = "\ufffd"  # decoded from bytes that are only part of a character


def is_letter(char: str) -> bool:
    """Whether ``char`` makes a word longer: a letter, digit or mark of a script that puts spaces between words."""
    return (char.isalnum() or char == "_" or _combines(char)) and not UNSPACED.match(char)


def word_goes_on(text: str, at: int) -> bool:
    """Whether the word that ``text[at - 1]`` belongs to goes on at ``at``."""
    before, after, next_one = text[at - 1 : at], text[at : at + 1], text[at + 1 : at + 2]
    if not before or not after:
        return False
    if _combines(after):
        return not before.isspace()
    return is_letter(before) and (is_letter(after) or (after in JOINS and next_one != "" and is_letter(next_one)))


def word_began(text: str, at: int) -> bool:
    """Whether the word that ``text[at]`` belongs to began before ``at``."""
    if at == 0 or not is_letter(text[at]):
        return False
    return is_letter(text[at - 1]) or (at > 1 and text[at - 1] in JOINS and is_letter(text[at - 2]))


def edge_after_word(text: str) -> int:
    """What a token does to a word before it, of which it makes ``text``, perhaps with a space first."""
    first = text.lstrip()[:1]
    lone = len(text.lstrip()) == 1
    if not text or first == INCOMPLETE or (first in JOINS and first and (lone or text[0].isspace())):
        return UNSURE
    if _combines(first or " "):
        return MARKED
    return GOES_ON if word_goes_on("a" + text, 1) else ENDS


def may_join(text: str) -> bool:
    """Whether a token that makes ``text`` may join what follows it to a word before it, though it writes a space."""
    return text.strip() != "" and text.strip()[-1] in JOINS + "_"


def _combines(char: str) -> bool:
    return char == "\u200d" or unicodedata.category(char).startswith("M")
