"""A causal model of four pieces of text, of which all texts of up to four tokens can be listed, in every spelling."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from lm_adapters import CausalLM, Grammar, Matches, NextTokens, PromptedLM, StoppedEnergy
from samplers import Energy
from samplers.testing.targets import Enumerated
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.enumerated import every_text, with_likely_ends

PIECES, LONGEST = ("a", "b", "ab", "Ġ"), 4
GRAMMARS = {
    "pattern": Grammar.pattern("a(ab)+|b{2,5}a?|a b* ?"),  # some beginnings cannot end within four tokens
    "grammar": Grammar.lark('start: pair ("a" | " ")*\npair: "a" pair "b" | "ab"'),
}


@cache
def lm(pieces: tuple[str, ...] = PIECES) -> CausalLM:
    return with_likely_ends(tiny_causal.pieces_lm(pieces, seed=5, scale=5.0))


def reader() -> PromptedLM:
    return lm().condition_on("ab")


@cache
def texts() -> Tensor:
    return every_text(lm().allowed.nonzero().squeeze(1), LONGEST, lm().space.pad_id)


@cache
def following(name: str) -> NextTokens:
    return NextTokens(lm().space, GRAMMARS[name])


@cache
def space(name: str, power: float = 1.0) -> Enumerated:
    """The model's law to a power, given the grammar."""
    energy: Energy = power * StoppedEnergy(reader(), LONGEST) + Matches(lm().space, GRAMMARS[name])
    return Enumerated(texts(), energy)
