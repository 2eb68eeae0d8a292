"""How often a step waits for a GPU, on a pretended one: each wait is time in which nothing is queued there.

``WAITS`` are those of today: lower one where a change saves some. What needs them is the shape of what comes next: the
longest text, the rows that changed, whether a suffix goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

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
from samplers import Energy, Flat, IndependenceProposal, Kernel, MetropolisHastings, PseudoGibbs, generator
from samplers.run import start_chains
from tests.experiments.test_operators import WORDS, causal, masked
from tests.pretend_cuda import PretendCuda, pretend_cuda

LENGTH, CHAINS, STEPS = 8, 3, 5
WAITS = {"gibbs": 3, "gibbs, accepted or not": 19, "suffix": 27, "draws": 19, "keywords": 31}

Models = tuple[MaskedLM, CausalLM]


def gibbs(models: Models) -> tuple[Kernel, Energy]:
    return PseudoGibbs(GibbsProposal(models[0])), Flat()


def accepted(models: Models) -> tuple[Kernel, Energy]:
    return MetropolisHastings(GibbsProposal(models[0])), MaskedEnergy(models[0], "pll")


def suffix(models: Models) -> tuple[Kernel, Energy]:
    model = models[1].condition_on()
    return MetropolisHastings(SuffixProposal(model, min_length=LENGTH, max_length=LENGTH)), SequenceEnergy(model)


def draws(models: Models) -> tuple[Kernel, Energy]:
    law = SequenceDistribution(models[1].condition_on(), min_length=LENGTH, max_length=LENGTH)
    return MetropolisHastings(IndependenceProposal(law)), SequenceEnergy(models[1].condition_on())


def keywords(models: Models) -> tuple[Kernel, Energy]:
    lock = Keywords(models[0].space, WORDS[:2])
    kernel = edit_kernel(models[0], lock=lock, min_length=3, max_length=LENGTH)
    return kernel, lock + SequenceEnergy(models[1].condition_on())


RUNS: dict[str, Callable[[Models], tuple[Kernel, Energy]]] = {
    "gibbs": gibbs,
    "gibbs, accepted or not": accepted,
    "suffix": suffix,
    "draws": draws,
    "keywords": keywords,
}


@pytest.fixture(scope="module")
def device() -> Iterator[tuple[PretendCuda, Models]]:
    first, second = masked(), causal()
    tokenizers = first.space.tokenizer, second.space.tokenizer
    with pretend_cuda() as mode:
        models = tuple(
            kind(type(model.model)(model.model.config).to("cuda"), tokenizer)
            for kind, model, tokenizer in zip((MaskedLM, CausalLM), (first, second), tokenizers, strict=True)
        )
        yield mode, models


@pytest.mark.parametrize("name", RUNS)
def test_a_step_on_a_gpu_waits_no_more_often(device, name: str):
    mode, models = device
    kernel, energy = RUNS[name](models)
    x0 = models[0].space.encode([" ".join(WORDS[:LENGTH])] * CHAINS, LENGTH).to("cuda")
    state, rng = start_chains(kernel, energy, x0), generator(0, device="cuda")
    with torch.inference_mode():
        state, _ = kernel.step(state, energy, rng)  # what is made once
        mode.waits.clear()
        for _ in range(STEPS):
            state, _ = kernel.step(state, energy, rng)
    assert WAITS[name] / 1.1 < mode.waits.total() / STEPS < 1.1 * WAITS[name], mode.waits.most_common()


def test_the_pretended_device_sees_waits_and_strays():
    with pretend_cuda() as mode:
        x = torch.arange(4, device="cuda")
        mode.waits.clear()
        for run in (x.sum().item, x.tolist, lambda: x[x > 1], lambda: bool(x.any()), x.cpu, x.nonzero):
            run()
        assert mode.waits.total() == 6
        x[x > 1] = 0
        x.scatter(0, x, 1)[torch.arange(4, device="cuda")] + 1
        assert mode.waits.total() == 6
        for run in (lambda: x + torch.arange(4), lambda: torch.rand(2, device="cuda", generator=torch.Generator())):
            with pytest.raises(RuntimeError):
                run()
