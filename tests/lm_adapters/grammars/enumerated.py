"""A causal model of four pieces of text, of which all texts of up to four tokens can be listed, in every spelling."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lm_adapters import CausalLM, Grammar, Matches, NextTokens, PromptedLM, StoppedEnergy
from samplers import Energy
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters import tiny_causal

PIECES, LONGEST = ("a", "b", "ab", "Ġ"), 4
GRAMMARS = {
    "pattern": Grammar.pattern("a(ab)+|b{2,5}a?|a b* ?"),  # some beginnings cannot end within four tokens
    "grammar": Grammar.lark('start: pair ("a" | " ")*\npair: "a" pair "b" | "ab"'),
}


@cache
def lm(pieces: tuple[str, ...] = PIECES) -> CausalLM:
    """Nearly all of the mass is on the pieces and ends."""
    model = tiny_causal.pieces_lm(pieces, seed=5, scale=5.0)
    model.tokens_per_pass = 10**6
    bias = torch.full(model.allowed.shape, -12.0, dtype=torch.float64)
    bias[model.allowed], bias[model.eos_id] = 0.0, -1.0
    model.model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return model


def reader() -> PromptedLM:
    return lm().condition_on("ab")


@cache
def texts() -> Tensor:
    tokens, pad = lm().allowed.nonzero().squeeze(1), lm().space.pad_id
    parts = [tokens[enumerate_states(len(tokens), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


@cache
def following(name: str) -> NextTokens:
    return NextTokens(lm().space, GRAMMARS[name])


@cache
def space(name: str, power: float = 1.0) -> Enumerated:
    """The model's law to a power, given the grammar."""
    energy: Energy = power * StoppedEnergy(reader(), LONGEST) + Matches(lm().space, GRAMMARS[name])
    return Enumerated(texts(), energy)


def strain(index: Tensor, law: Tensor) -> float:
    """``n * KL`` of the cells seen to ``law`` over its gate: above 1 is a rejection."""
    counts, law = pool(torch.bincount(index, minlength=len(law)), law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))
