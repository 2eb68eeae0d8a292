"""The library that reads grammars (``llguidance``), asked about bytes: what may follow, and whether a text is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["Automaton", "compile_error", "is_empty"]

BYTES = 255  # byte 255 occurs in no text
# Otherwise bytes that only one text can go on with are allowed in one spelling, and all others are left out.
ALL_SPELLINGS = '\n%llguidance {"no_forcing": true}\n'


class _Tokens:
    """What the library asks of a tokenizer: the bytes of each token."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.tokens = [*(bytes([byte]) for byte in range(BYTES)), *pieces, b"<end>"]
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: bytes) -> list[int]:
        raise NotImplementedError("with all spellings allowed, nothing is tokenised")


class Automaton:
    """Reads bytes and says whether they are a whole match, and which of ``pieces`` may come next.

    ``lark`` is a grammar of the library's own kind, without errors. A function of the bytes alone, whatever was asked
    before.
    """

    def __init__(self, lark: str, pieces: Sequence[bytes] = ()) -> None:
        self._count = len(pieces)
        self._matcher = _matcher(lark, pieces)

    def is_match(self, text: bytes) -> bool:
        """Whether the whole of ``text`` matches."""
        return self._read(text) and self._matcher.is_accepting()

    def after(self, text: bytes) -> tuple[NDArray[np.bool_], bool]:
        """Which pieces may follow ``text``, ``bool [pieces]``, and whether it is a whole match.

        What may follow begins some match, or looks as if: then nothing may follow later.
        """
        if not self._read(text):
            return np.zeros(self._count, dtype=bool), False
        whole = self._matcher.is_accepting()
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[BYTES : BYTES + self._count]
        return bits.astype(bool), whole

    def look(self, text: bytes) -> bytes:
        """What may follow ``text``: bytes, the end, and those that must. The same of all texts that go on alike."""
        if not self._read(text):
            return b""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        begins = np.unpackbits(packed, bitorder="little", count=BYTES)
        may = np.packbits(np.append(begins, self._matcher.is_accepting())).tobytes()
        return may + self._matcher.compute_ff_bytes()

    def may_follow(self, text: bytes, piece: int) -> bool:
        """Whether that piece may follow ``text``, as in ``after``."""
        return self._read(text) and self._matcher.validate_tokens([BYTES + piece]) == 1

    def _read(self, text: bytes) -> bool:
        self._matcher.reset()
        return self._matcher.try_consume_tokens(list(text)) == len(text)


def _matcher(lark: str, pieces: Sequence[bytes]) -> LLMatcher:
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    tokenizer = LLTokenizer(TokenizerWrapper(_Tokens(pieces)), slices=[])
    return LLMatcher(tokenizer, lark + ALL_SPELLINGS, log_level=0)


def compile_error(lark: str) -> str:
    """What is wrong with a grammar, in one line, or nothing."""
    from llguidance import LLMatcher

    failed, messages = LLMatcher.validate_grammar_with_warnings(lark + ALL_SPELLINGS)
    return _one_line(messages[0]) if failed else ""


def is_empty(lark: str) -> bool | None:
    """Whether nothing matches ``lark``; ``None`` where that takes too much to find out."""
    matcher = _matcher(lark, ())
    if matcher.is_error():
        return None
    begins = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return not matcher.is_accepting() and not np.unpackbits(begins, bitorder="little")[:BYTES].any()


def _one_line(message: str) -> str:
    """The library's message without the lines that it shows around the place."""
    what = re.search(r"^error: (.*)$", message, flags=re.MULTILINE)
    caret = re.search(r"regex parse error:\n    (.*)\n    ( *)\^", message)
    place = re.match(r"(?:at )?(\d+)\((\d+)\): ", message)
    if what is None:
        first = message.split("\n")[0]
        return first.removeprefix(place[0]) + f" (line {place[1]}, column {place[2]})" if place else first
    where = f" (character {len(caret[2]) + 1} of {caret[1]!r})" if caret else ""
    return what[1] + where
