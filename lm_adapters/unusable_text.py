"""What a text holds that a tokenizer cannot make tokens of, and where, in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["place", "quoted", "what_is_wrong"]

SHOWN = 100  # characters of a text that a message quotes


def what_is_wrong(
    text: str, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, unusable: Callable[[Sequence[int]], bool]
) -> str:
    """The problem of a text with tokens ``ids``, among them special or unknown ones.

    ``unusable(ids)`` is true of tokens that hold one of these.
    """
    names = [str(tokenizer.convert_ids_to_tokens(i)) for i in set(ids).intersection(tokenizer.all_special_ids)]
    for at, name in sorted((text.find(name), name) for name in names if name in text):
        return f"the text holds the special token {name!r} {place(text, at)}; take it out"
    at, part = next(_unusable_parts(text, tokenizer, unusable), (0, text))
    return f"the tokenizer cannot represent {quoted(part)} {place(text, at)}; use other characters"


def place(text: str, at: int) -> str:
    """Where the character number ``at``, from 0, stands."""
    return f"at character {at + 1} of {quoted(text, at)}"


def quoted(text: str, at: int = 0) -> str:
    """``text`` in quotes, or as much of it around the character ``at`` as a message can show."""
    start = max(0, min(at - SHOWN // 2, len(text) - SHOWN))
    end = start + SHOWN
    return repr("…" * (start > 0) + text[start:end] + "…" * (end < len(text)))


def _unusable_parts(
    text: str, tokenizer: PreTrainedTokenizerBase, unusable: Callable[[Sequence[int]], bool]
) -> Iterator[tuple[int, str]]:
    """Characters, or words where all of their characters or none is at fault, and where they begin."""
    for word in re.finditer(r"\S+", text):
        rows = tokenizer([word[0], *word[0]], add_special_tokens=False)["input_ids"]
        if unusable(rows[0]):
            faults = [at for at, ids in enumerate(rows[1:]) if unusable(ids)]
            partly = 0 < len(faults) < len(word[0])
            yield from ((word.start() + at, word[0][at]) for at in faults) if partly else [(word.start(), word[0])]
