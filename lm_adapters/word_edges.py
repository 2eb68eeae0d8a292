"""Where a word ends: one rule for keywords and for forbidden words, in texts and, as far as they show it, in tokens.

A word ends where its letters and digits do, unless an apostrophe or a hyphen joins them to more of them: neither
"ladder's" nor "ladder-like" holds the word "ladder"; "(ladder)", "ladder." and "'ladder'" do. A word that begins or
ends with a mark has no letter beside it either ("@user" is not in "me@user", "U.S." not in "U.S.A"), but for marks that
stand at other words by nature: "." follows any, "(" comes before any. In scripts that put no spaces between words
(Chinese, Japanese, Thai, ...) a word may stand anywhere. No word ends within a character: an accent that combines with
what is before it belongs to it.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "ENDS",
    "HAN",
    "JOINED",
    "LETTER",
    "MARKED",
    "SCRIPT",
    "UNSURE",
    "edge_after_word",
    "edge_before_word",
    "follows_words",
    "is_letter",
    "leads_words",
    "word_began",
    "word_goes_on",
]

# What a token is beside a word:
ENDS = 0
LETTER = 1
JOINED = 2  # a letter behind an apostrophe or hyphen
MARKED = 3  # a part of the word's last character
UNSURE = 4  # only the text can tell
SCRIPT = 6  # a letter or mark of a script that puts no spaces between words; 5 is no token at all, see ``locks.piece``

JOINS = "'\u2019\u02bc\uff07-\u2010\u2011\uff0d\u00ad\u200c"  # apostrophes, hyphens, and the non-joiner of Persian
HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # of a character class
UNSPACED = re.compile(  # Thai to Tibetan, Burmese, Khmer and their neighbours, kana and bopomofo, Han
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f\u3005-\u3007\u3040-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
UNSPACED_MARK = re.compile("[\u3000-\u303f\uff00-\uff65]")  # of Chinese and Japanese
INCOMPLETE = "\ufffd"  # decoded from bytes that are only part of a character
# Marks of categories Po, Pd and So that stand right behind a word, and right before one.
FOLLOWING, LEADING = (
    '.,;:!?%\u2026\u2030\u00b0\u2032\u2033"\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f',
    '@#\u00bf\u00a1"',
)


def is_letter(char: str) -> bool:
    """Whether ``char`` makes a word longer: a letter, digit or mark of a script that puts spaces between words."""
    return (char.isalnum() or char == "_" or _combines(char)) and not UNSPACED.match(char)


def follows_words(char: str) -> bool:
    """Whether ``char`` stands right behind words by nature, or in a script without spaces."""
    return char in JOINS + FOLLOWING or bool(UNSPACED.match(char)) or unicodedata.category(char) in ("Pe", "Pf")


def leads_words(char: str) -> bool:
    """Whether ``char`` stands right before words by nature, or in a script without spaces."""
    return char in JOINS + LEADING or bool(UNSPACED.match(char)) or unicodedata.category(char) in ("Ps", "Pi", "Sc")


def word_goes_on(text: str, at: int) -> bool:
    """Whether what ends in ``text`` before ``at`` goes on there."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if _combines(after):
        return not before.isspace()
    if leads_words(before):
        return False
    if is_letter(before) and after in JOINS:
        return at + 1 < len(text) and is_letter(text[at + 1])
    return is_letter(after)


def word_began(text: str, at: int) -> bool:
    """Whether what begins in ``text`` at ``at`` began before."""
    if not 0 < at < len(text) or follows_words(text[at]):
        return False
    if is_letter(text[at]) and text[at - 1] in JOINS:
        return at > 1 and is_letter(text[at - 2])
    return is_letter(text[at - 1])


def edge_after_word(text: str) -> int:
    """What a token is to a word before it, after which it writes ``text``, perhaps with a space first."""
    first, second = text.lstrip()[:1], text.lstrip()[1:2]
    if not text or first == INCOMPLETE or (first and first in JOINS and (text[0].isspace() or not second)):
        return UNSURE
    if _combines(first or " "):
        return MARKED
    if is_letter(text[0]):
        return LETTER
    return JOINED if text[0] in JOINS and is_letter(second) else ENDS


def edge_before_word(text: str) -> int:
    """What a token that writes ``text`` is to a word after it, where there is no space between them."""
    last = text.strip()[-1:]
    if not text or last == INCOMPLETE or (last and last in JOINS + "_"):
        return UNSURE
    if UNSPACED.match(text[-1]) or UNSPACED_MARK.match(text[-1]):
        return SCRIPT
    return LETTER if is_letter(text[-1]) else ENDS


def _combines(char: str) -> bool:
    return char == "\u200d" or unicodedata.category(char).startswith("M")
