"""Whether a text of so many tokens can match, found out without drawing one."""

from __future__ import annotations

import re

import torch

from lm_adapters.grammars.engine import is_empty
from lm_adapters.grammars.next_tokens import NextTokens
from samplers import InvalidInput

__all__ = ["check_possible"]

MOST = 2_000  # beginnings that are looked at; beyond that a language is held for large enough
REGEX_MARKS = re.compile(r"([\\/.^$|?*+(){}\[\]&~#\-])")


def check_possible(following: NextTokens, min_length: int, max_length: int) -> None:
    """Raise ``InvalidInput`` where no text of ``min_length`` to ``max_length`` proposable tokens matches.

    A pattern is intersected with the texts that so many tokens write. Where that takes too much, and for grammars and
    schemas, beginnings are followed to their end, as long as they are few. No error is thus no promise: it was found
    that some text matches, or it was not found out.
    """
    grammar = following.grammar
    empty = _intersection_is_empty(following, min_length, max_length) if grammar.kind == "pattern" else None
    if empty is None:
        empty = _nothing_is_reached(following, min_length, max_length)
    if empty:
        span = f"{min_length}" if min_length == max_length else f"{min_length} to {max_length}"
        raise InvalidInput(f"no text of {span} tokens matches the {grammar.kind} {grammar.name}; change one of the two")


def _intersection_is_empty(following: NextTokens, low: int, high: int) -> bool | None:
    first, later = (
        "|".join(REGEX_MARKS.sub(r"\\\1", piece).replace("\n", r"\n") for piece in sorted(pieces))
        for pieces in following.pieces
    )
    spelt = f"SPELT: /({first})/ /({later}){{{low - 1},{high - 1}}}/"
    return is_empty(following.grammar.source.replace("start: WHOLE", f"start: BOTH\nBOTH: WHOLE & SPELT\n{spelt}", 1))


def _nothing_is_reached(following: NextTokens, low: int, high: int) -> bool | None:
    """Whether all beginnings end without a match; ``None`` where they are too many."""
    reached: dict[bytes, list[int]] = {b"": []}  # one spelling of each, in the fewest tokens
    for count in range(high):
        longer: dict[bytes, list[int]] = {}
        for tokens in reached.values():
            row = torch.tensor([tokens or [0]])
            for token in following.allowed(row, torch.tensor([len(tokens)]))[0].nonzero().squeeze(1).tolist():
                text = following.text([*tokens, token])
                if text is not None:
                    longer.setdefault(text, [*tokens, token])
                if len(longer) > MOST:
                    return None
        if count + 1 >= low and any(following.is_whole(tokens) for tokens in longer.values()):
            return False
        reached = longer
    return True
