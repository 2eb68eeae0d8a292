"""A causal model of three words whose texts of up to four words can all be listed, some ending early."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lm_adapters import CausalLM, PromptedLM, StoppedEnergy
from samplers import Energy
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters import tiny_causal

WORDS, LONGEST = ("red", "green", "blue"), 4


@cache
def lm() -> CausalLM:
    """Nearly all of the mass is on words and ends."""
    model = tiny_causal.words_lm(WORDS, seed=4, scale=5.0)
    model.tokens_per_pass = 10**6
    bias = torch.full(model.allowed.shape, -12.0, dtype=torch.float64)
    bias[model.allowed], bias[model.eos_id] = 0.0, -1.0
    model.model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return model


def reader() -> PromptedLM:
    return lm().condition_on("blue")


def word(text: str) -> int:
    return int(lm().space.encode([text])[0, 0])


@cache
def texts() -> Tensor:
    words, pad = lm().space.encode([" ".join(WORDS)])[0], lm().space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


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


def strain(index: Tensor, law: Tensor) -> float:
    """``n * KL`` of the cells seen to ``law`` over its gate: above 1 is a rejection."""
    counts, law = pool(torch.bincount(index, minlength=len(law)), law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))
