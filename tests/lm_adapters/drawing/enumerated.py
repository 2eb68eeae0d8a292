"""A causal model of three words whose texts of up to four words can all be listed, some ending early."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lm_adapters import CausalLM, PromptedLM, StoppedEnergy
from samplers import Energy
from samplers.testing.targets import Enumerated
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.enumerated import every_text, with_likely_ends

WORDS, LONGEST = ("red", "green", "blue"), 4


@cache
def lm() -> CausalLM:
    return with_likely_ends(tiny_causal.words_lm(WORDS, seed=4, scale=5.0))


def reader() -> PromptedLM:
    return lm().condition_on("blue")


def word(text: str) -> int:
    return int(lm().space.encode([text])[0, 0])


@cache
def texts() -> Tensor:
    return every_text(lm().space.encode([" ".join(WORDS)])[0], LONGEST, lm().space.pad_id)


@cache
def space(power: float, other: bool = False) -> Enumerated:
    """The law to a power; ``other``: with a price on "green" and a gift for each token, which the model knows not."""
    energy: Energy = power * StoppedEnergy(reader(), LONGEST)
    if other:
        green = word("green")
        energy = energy + (lambda x: 1.3 * (x == green).sum(dim=1).double() - 0.8 * lm().space.lengths(x).double())
    return Enumerated(texts(), energy)


def by_length(law: Tensor) -> Tensor:
    return torch.zeros(LONGEST + 1, dtype=torch.float64).index_add_(0, lm().space.lengths(texts()), law)
