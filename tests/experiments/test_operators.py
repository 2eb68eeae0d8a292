"""Tensor operators of a step outside the models: on one chain and a small model they are what a step costs.

``OPERATORS`` are those of today. A test fails where one grows by a tenth; lower it where a change saves some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.setup.kernels import edit_kernel
from lm_adapters import (
    CausalLM,
    GibbsProposal,
    Keywords,
    MaskedEnergy,
    MaskedLM,
    SequenceDistribution,
    SequenceEnergy,
    SuffixProposal,
)
from samplers import Energy, Flat, Kernel, MetropolisHastings, PseudoGibbs, generator
from samplers.run import start_chains
from tests.lm_adapters import tiny

WORDS = [f"w{number}" for number in range(300)]  # more than one block of weights
WIDTH, STEPS = 120, 40
OPERATORS = {
    "gibbs": 68,
    "gibbs, accepted or not": 329,
    "suffix": 499,
    "draws": 410,
    "keywords, 3": 397,
    "keywords, 100": 413,
}


class Outside(TorchDispatchMode):
    """Counts operators that no model runs."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count, self._inside = 0, 0
        self._hooks = [model.register_forward_pre_hook(self._enter) for model in models]
        self._hooks += [model.register_forward_hook(self._leave) for model in models]

    def _enter(self, *_: object) -> None:
        self._inside += 1

    def _leave(self, *_: object) -> None:
        self._inside -= 1

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += not self._inside
        return function(*arguments, **(named or {}))

    def of(self, run: Callable[[], object], times: int) -> float:
        """A call of ``run``, on average."""
        with torch.inference_mode(), self:
            for _ in range(times):
                run()
        for hook in self._hooks:
            hook.remove()
        return self.count / times


@cache
def masked() -> MaskedLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskedLM(tiny.bert(tiny.word_level(WORDS), max_position_embeddings=WIDTH + 2), tiny.word_level(WORDS))


@cache
def causal() -> CausalLM:
    """In the tokens of ``masked``."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = tiny.word_level(WORDS)
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": WIDTH + 1, "vocab_size": len(tokenizer)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CausalLM(GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=2, eos_token_id=3)), tokenizer)


def stepping(kernel: Kernel, energy: Energy, x0: Tensor) -> Callable[[], None]:
    state, rng = start_chains(kernel, energy, x0), generator(0)

    def step() -> None:
        nonlocal state
        state, _ = kernel.step(state, energy, rng)

    return step


def keywords(count: int) -> Callable[[], None]:
    lock, length = Keywords(masked().space, WORDS[:count]), count + 12
    kernel = edit_kernel(masked(), lock=lock, min_length=3, max_length=length)
    x0 = masked().space.encode([" ".join([*WORDS[:count], "w105 w106"])], length)
    return stepping(kernel, lock + SequenceEnergy(causal().condition_on()), x0)


def text(length: int) -> Tensor:
    return masked().space.encode([" ".join(WORDS[:length])])


def suffixes(length: int) -> Callable[[], None]:
    model = causal().condition_on()
    proposal = SuffixProposal(model, min_length=length, max_length=length)
    return stepping(MetropolisHastings(proposal), SequenceEnergy(model), text(length))


def draws(length: int) -> Callable[[], Tensor]:
    law = SequenceDistribution(causal().condition_on(), min_length=3, max_length=length)
    return lambda: law.sample((1,))


RUNS: dict[str, Callable[[], Callable[[], object]]] = {
    "gibbs": lambda: stepping(PseudoGibbs(GibbsProposal(masked())), Flat(), text(10)),
    "gibbs, accepted or not": lambda: stepping(
        MetropolisHastings(GibbsProposal(masked())), MaskedEnergy(masked(), "pll"), text(10)
    ),
    "suffix": lambda: suffixes(8),
    "draws": lambda: draws(8),
    "keywords, 3": lambda: keywords(3),
    "keywords, 100": lambda: keywords(100),
}


@pytest.mark.parametrize("name", RUNS)
def test_operators_of_a_step_do_not_grow_by_a_tenth(name: str):
    run = RUNS[name]()
    with torch.inference_mode():
        run()  # what is made once
    found = Outside([masked().model, causal().model]).of(run, STEPS)
    assert OPERATORS[name] / 1.1 < found < 1.1 * OPERATORS[name]


def test_a_hundred_locked_words_cost_what_three_do():
    assert OPERATORS["keywords, 100"] < 1.1 * OPERATORS["keywords, 3"]
