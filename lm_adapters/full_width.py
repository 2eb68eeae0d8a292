"""Full-width marks in Chinese texts, for tokenizers that read them as marks of ASCII (NFKC: T5, mT5 and their kin).

Such a tokenizer gives "好，" and "好," the same tokens. In a text with Chinese characters people write the first.
"""

# ruff: noqa: RUF001, RUF002  (marks that look alike are what this file is about)
from __future__ import annotations

import re

from lm_adapters.word_edges import HAN

__all__ = ["FOLDED", "widen"]

WIDE = {",": "，", "!": "！", "?": "？", ":": "：", ";": "；", "(": "（", ")": "）"}
FOLDED = (("好，", "好,"), ("好……", "好......"))  # texts that such a tokenizer takes for the same
CHINESE = re.compile(f"[{HAN}]")
PAIR = re.compile(r"\(([^()]*)\)")
DOTS = re.compile(r"\.{6}")
# Not within a number (1,000 and 10:30), before a slash (http://), nor beside a space, where a Latin text goes on.
MARK = re.compile(r"(?:(?<!\d),|,(?!\d{3}(?!\d))|(?<!\d)[!?:;]|[!?:;](?!\d))(?![\s/])(?<!\s.)")


def widen(text: str) -> str:
    """A text with the full-width marks that people would write, if it has a Chinese character."""
    if not CHINESE.search(text):
        return text
    text = MARK.sub(lambda found: WIDE[found[0]], text)
    return DOTS.sub("……", PAIR.sub(_parentheses, text))


def _parentheses(found: re.Match[str]) -> str:
    """Those that hold a Chinese character, or stand right after one."""
    near = found.string[max(0, found.start() - 1) : found.start()] + found[1]
    return f"（{found[1]}）" if CHINESE.search(near) else found[0]
