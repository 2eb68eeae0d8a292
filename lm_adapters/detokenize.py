"""Write tokens as people write text, for tokenizers that do not keep the spaces beside punctuation.

BERT and its kin cut a text at spaces and at every punctuation mark, and their ``decode`` puts a space between all of
these: ``Tom isn ' t here .`` Which spaces were there is lost, so they are set by the rules of this file.
"""

# ruff: noqa: RUF001  (marks that look alike are what this file is about)
from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING
from unicodedata import category, normalize

from lm_adapters.full_width import FOLDED, widen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Detokenizer", "what_is_lost"]

# Which neighbours a mark adheres to.
LEFT, RIGHT, BOTH, NONE = (True, False), (False, True), (True, True), (False, False)
Sides = tuple[bool, bool]

MARKS = {
    **dict.fromkeys("/\\_", BOTH),
    **dict.fromkeys("%‰°′″", LEFT),
    **dict.fromkeys("&*=<>|~^†‡§·•", NONE),
    **dict.fromkeys("¿¡„‚`", RIGHT),
}
OF_CATEGORY = {"Po": LEFT, "Pe": LEFT, "Pf": LEFT, "Ps": RIGHT, "Pi": RIGHT, "Pd": NONE, "Pc": BOTH}
CONTRACTED = frozenset(("s", "t", "m", "d", "ll", "ve", "re"))
ELIDED = frozenset(("l", "d", "j", "n", "s", "c", "m", "t", "o", "y", "aujourd"))
SUSPENDED = frozenset(("and", "or", "und", "oder", "et", "ou"))  # "two- and threefold"
CLIPPED = frozenset(("tis", "twas", "em", "til", "cause", "bout"))
DOMAINS = frozenset(("com", "org", "net", "edu", "gov", "info", "de", "fr", "uk", "cn", "io"))
TWO_WAYS = frozenset(('"', "'", "\u2019", "\u201c"))  # marks that open and close; the last two close in turn:
CLOSED_BY = {"\u2018": "\u2019", "\u201e": "\u201c"}
BASE = re.compile(r"\w+|\W")
# Scripts without spaces between words: their letters, punctuation and full-width forms.
CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
IS_CJK = re.compile(f"[{CJK}]")
# A text without any of these has the spaces that it should have.
TO_DO = re.compile(rf"[^\w\s]|_|[{CJK}]")

PROBES = (("a - b", "a-b"), ("a .", "a."), ("( a", "(a"), ("音 乐", "音乐"))


class Detokenizer:
    """Texts of token ids, a function of these alone; ``restores`` says whether spaces are set by rule.

    A space is only ever taken out where the tokenizer does not see the difference, so that the text has the same
    tokens. Tokenizers that see all spaces decode by themselves.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._same: dict[tuple[str, str], bool] = {}

    def __call__(self, rows: list[list[int]]) -> list[str]:
        # With their "clean up", libraries turn "do not" into "don't".
        texts: list[str] = self.tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)
        if self.restores:
            texts = [self.write(text) for text in texts]
        return [widen(text) for text in texts] if self.folds else texts

    @cached_property
    def folds(self) -> bool:
        """Whether the tokenizer does not see the difference between full-width marks and those of ASCII."""
        unknown = self.tokenizer.unk_token_id
        pairs = [(self._tokens(wide), self._tokens(narrow)) for wide, narrow in FOLDED]
        return all(wide == narrow and unknown not in wide for wide, narrow in pairs)

    @cached_property
    def restores(self) -> bool:
        return any(self._tokens(apart) == self._tokens(joined) for apart, joined in PROBES)

    def write(self, text: str) -> str:
        """``text``, as the tokenizer decodes it, with the spaces that people would set."""
        if TO_DO.search(text) is None:
            return text
        unspaced = IS_CJK.search(text) is not None
        parts: list[str] = []
        spaced: list[bool] = []  # whether the decoded text has a space before the part
        for word in text.split():
            inner = [word] if len(word) == 1 or (word.isalnum() and not unspaced) else BASE.findall(word)
            parts += inner
            spaced += [True, *[False] * (len(inner) - 1)]
        sides = _sides(parts)
        written = parts[:1]
        adheres = sides.get(0, NONE)[1]
        for index in range(1, len(parts)):
            before, after = parts[index - 1], parts[index]
            to_left, to_right = sides.get(index, NONE)
            joined = adheres or to_left or (unspaced and _runs_on(before[-1], after[0]))
            if spaced[index] and not (joined and self._joins(before[-1], after[0])):
                written.append(" ")
            written.append(after)
            adheres = to_right
        return "".join(written)

    def _joins(self, before: str, after: str) -> bool:
        """Whether the tokenizer makes the same of two characters with a space between them and without."""
        pair = before, after
        if pair not in self._same:
            self._same[pair] = self._tokens(f"{before} {after}") == self._tokens(before + after)
        return self._same[pair]

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _runs_on(before: str, after: str) -> bool:
    """Whether two characters stand without a space between them because of their script."""
    if before in ",.?!;:":
        return False
    return bool(IS_CJK.match(before) or IS_CJK.match(after)) or before + after in ("”“", "’‘")


def _sides(parts: list[str]) -> dict[int, Sides]:
    """Of each mark, by its place, whether it adheres to what is before it, and to what is after it."""
    around = ["", "", *parts, "", ""]
    marks = {index: part for index, part in enumerate(parts) if not part[0].isalnum()}
    found = {index: _by_itself(mark, around[index : index + 5]) for index, mark in marks.items()}
    turning = [mark for index, mark in marks.items() if found[index] is None]
    sides: dict[int, Sides] = {}
    open_quotes: set[str] = set()
    for index, mark in marks.items():
        open_quotes.update(CLOSED_BY.get(mark, ""))
        sides[index] = found[index] or _in_turn(turning.pop(0), turning, around[index : index + 5], open_quotes)
    return sides


def _by_itself(mark: str, window: list[str]) -> Sides | None:
    """The sides of a mark from what is around it, two parts on each side; ``None`` if it opens and closes."""
    rule = IN_CONTEXT.get(mark)
    if rule is not None:
        return rule(*window)
    return None if mark in TWO_WAYS else MARKS.get(mark) or OF_CATEGORY.get(category(mark[0]), NONE)


def _in_turn(mark: str, later: list[str], window: list[str], open_quotes: set[str]) -> Sides:
    """Quotation marks open and close in turn; one that nothing closes is an apostrophe or belongs to what is near."""
    if mark in open_quotes:
        open_quotes.discard(mark)
        return LEFT
    if mark == "\u201c":
        return RIGHT
    if mark in later and mark != "\u2019":
        open_quotes.add(mark)
        return RIGHT
    before, after = window[1], window[3]
    if before.isalpha() and after.isalpha() and before[-1] not in "sxz":
        return BOTH
    return LEFT if before else RIGHT


def _apostrophe(_: str, before: str, mark: str, after: str, then: str) -> Sides | None:
    letters, digits = (before.isalpha() and after.isalpha()), (before.isdecimal() and after.isdecimal())
    elided = before.lower() in ELIDED or before.lower().endswith("qu")
    if digits or (letters and (elided or after.lower() in CONTRACTED)):
        return BOTH
    return RIGHT if after.lower() in CLIPPED or after[:1].isdigit() else None


def _point(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    decimal = before.isdecimal() and after.isdecimal()
    initials = len(before) == len(after) == 1 and before.isalpha() and after.isalpha() and then == "."
    address = (before.isalnum() and after.lower() in DOMAINS) or before.lower() == "www"
    return BOTH if decimal or initials or address else LEFT


def _comma(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    return BOTH if before.isdecimal() and len(before) <= 3 and after.isdecimal() and len(after) == 3 else LEFT


def _colon(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    return BOTH if after == "/" or (before.isdecimal() and after.isdecimal() and len(after) == 2) else LEFT


def _hyphen(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    if "-" in (before, after):
        return before == "-", after == "-"
    if before[-1:].isalnum():
        return BOTH if after[:1].isalnum() and (after not in SUSPENDED or then == "-") else LEFT
    return RIGHT if after[:1].isdigit() else NONE


def _dash(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    if mark == "—" and "—" in (before, after):
        return before == "—" or before[-1:].isalnum(), after == "—" or after[:1].isalnum()
    if mark == "—":
        return BOTH if before[-1:].isalnum() and after[:1].isalnum() else NONE
    return BOTH if before.isdecimal() and after.isdecimal() else NONE


def _plus(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    return ("+" in (before, after), after == "+")


def _before_number(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    return RIGHT if after[:1].isdigit() else NONE


def _before_word(earlier: str, before: str, mark: str, after: str, then: str) -> Sides:
    return (mark == "@" and then == ".", after[:1].isalnum())


IN_CONTEXT: dict[str, Callable[[str, str, str, str, str], Sides | None]] = {
    "'": _apostrophe, "’": _apostrophe, ".": _point, ",": _comma, ":": _colon, "-": _hyphen, "–": _dash, "—": _dash,
    "+": _plus,
    **dict.fromkeys("$£€¥₹~", _before_number), **dict.fromkeys("@#", _before_word),
}  # fmt: skip


def what_is_lost(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What sets texts that the tokenizer writes apart from those that people write, in words, found by trying."""

    def comes_back(character: str, as_what: str) -> bool:
        ids = tokenizer(character, add_special_tokens=False)["input_ids"]
        return tokenizer.unk_token_id not in ids and tokenizer.batch_decode([ids])[0].strip() == as_what

    lost = []
    if any(comes_back(letter, letter.lower()) for letter in "AEST"):
        lost.append("no capital letters")
    if any(comes_back(letter, normalize("NFD", letter)[0]) for letter in "éäñ"):
        lost.append("no accents")
    detokenizer = Detokenizer(tokenizer)
    if detokenizer.restores:
        lost.append("spaces beside punctuation set by rule")
    if detokenizer.folds:
        lost.append("full-width marks set by rule")
    return lost
