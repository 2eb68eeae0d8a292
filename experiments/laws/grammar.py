"""What texts must match: a pattern, a grammar or a JSON schema, from the options, and what may follow by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from lm_adapters import Grammar, NextTokens, TextSpace

__all__ = ["given_grammar", "next_tokens"]


def given_grammar(pattern: str | None, grammar: str | None, json_schema: str | None) -> Grammar | None:
    """The one that was given, or ``None``.

    Raises ``InvalidInput`` for more than one, and for one that cannot be read or that no text matches.
    """
    from lm_adapters import Grammar
    from samplers import InvalidInput

    makers: dict[str, Callable[[str], Grammar]] = {
        "pattern": Grammar.pattern,
        "grammar": lambda path: Grammar.read(path, "grammar"),
        "json_schema": lambda path: Grammar.read(path, "JSON schema"),
    }
    values = {"pattern": pattern, "grammar": grammar, "json_schema": json_schema}
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) > 1:
        raise InvalidInput(f"{' and '.join(map(argument, given))} are given; leave all but one out")
    for name, value in given.items():
        try:
            return makers[name](value)
        except InvalidInput as error:
            raise InvalidInput(f"{argument(name)}: {error}") from error
    return None


def next_tokens(
    grammar: Grammar | None, space: TextSpace, length: tuple[int, int], *, needed: bool = False
) -> NextTokens | None:
    """What may follow the beginnings of texts that match; ``None`` without a grammar.

    Where the tokenizer sets spaces by rule there is none either, and texts are drawn and tried, unless it is
    ``needed``. Raises ``InvalidInput`` then, and where no text of a ``length`` within bounds matches.
    """
    from lm_adapters import NextTokens, check_possible
    from samplers import InvalidInput

    if grammar is None:
        return None
    try:
        following = NextTokens(space, grammar)
    except InvalidInput:
        if needed:
            raise
        return None
    check_possible(following, *length)
    return following
