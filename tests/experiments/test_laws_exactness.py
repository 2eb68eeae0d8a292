"""The laws of the options by exact enumeration: every text of four words up to length three, with a word locked."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from experiments.laws.temperature import AtTemperature
from experiments.populations.boosts import boosts
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from lm_adapters import CausalLM, Keywords, MaskedLM, SequenceEnergy
from samplers import Energy, Kernel, sample
from samplers.randomness import generator
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated
from tests.lm_adapters import tiny, tiny_causal
from tests.lm_adapters.enumerated import every_text

WORDS, LONGEST = ("red", "green", "blue", "grey"), 3
CHAINS = 2**12
TEMPERATURE = 0.6


@cache
def masked() -> MaskedLM:
    return tiny.words_lm(WORDS, table=LONGEST)


@cache
def causal() -> CausalLM:
    tokenizer = masked().space.tokenizer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = tiny.enlarged(tiny_causal.gpt2(tokenizer), 10.0)
    return CausalLM(model.double(), tokenizer)


@cache
def texts() -> Tensor:
    return every_text(masked().space.encode([" ".join(WORDS)])[0], LONGEST, masked().space.pad_id)


@cache
def lock() -> Keywords:
    return Keywords(masked().space, ["green"])


@cache
def fluency() -> SequenceEnergy:
    return SequenceEnergy(causal().condition_on(), "fluency")


def strain(x: Tensor, law: Tensor, space: Enumerated) -> float:
    """``n * KL`` of the draws to ``law`` over its gate: above 1 is a rejection."""
    counts, pooled = pool(torch.bincount(space.index(x), minlength=len(law)), law)
    return kl_statistic(counts, pooled) / kl_gate(int((pooled > 0).sum()))


def end_states(kernel: Kernel, energy: Energy, start: Tensor, steps: int = 6) -> Tensor:
    return sample(
        kernel, energy, start, steps=steps, warmup=steps - 1, shard_size=len(start), seed=0, progress=False
    ).draws[:, -1]


def whole_texts() -> Kernel:
    """Whole texts with the word pulled in, and edits."""
    reader = causal().condition_on()
    own = masked().space.encode(["red blue"])[0]
    return edit_kernel(
        masked(),
        lock=lock(),
        max_length=LONGEST,
        temperature=TEMPERATURE,
        scorer=fluency(),
        informed=[reader],
        boosts=boosts(reader, lock(), own, LONGEST),
        tries=2,
        anew=20,
    )


@pytest.mark.parametrize("name", ["edits", "shortlist", "whole texts"])
def test_chains_at_a_temperature_keep_the_law(name: str):
    law = torch.softmax(-(lock() + fluency())(texts()) / TEMPERATURE, dim=0)
    energy = AtTemperature(lock() + fluency(), TEMPERATURE)
    space = Enumerated(texts(), energy)
    given = {"lock": lock(), "max_length": LONGEST, "temperature": TEMPERATURE}
    kernel = {
        "edits": lambda: edit_kernel(masked(), scorer=fluency(), **given),
        "shortlist": lambda: shortlist_kernel(masked(), shortlist=3, **given),
        "whole texts": whole_texts,
    }[name]()
    start = space.sample(CHAINS, generator(1))
    x = end_states(kernel, energy, start)
    assert not torch.equal(x, start)
    assert strain(x, law, space) < 1
    assert strain(x, torch.softmax(-(lock() + fluency())(texts()), dim=0), space) > 1  # the law of another one
