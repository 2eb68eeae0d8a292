"""The blockwise pseudo-log-likelihood: what it adds up, what it costs, and the law that it leaves exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lm_adapters import BlockwiseEnergy, GibbsProposal, MaskedEnergy, MaskedLM
from samplers import DelayedAcceptance, InvalidInput, MetropolisHastings
from samplers.testing import transition_matrix
from tests.lm_adapters.forward.test_cost import Meter
from tests.lm_adapters.proposals.test_moves_exactness import LOCKS, assert_exact, assert_runs, lm, problem
from tests.lm_adapters.tiny import build

TEXTS = ["a b c d e f", "we do not like it", "i n p", "a"]


@pytest.fixture(scope="module")
def model() -> MaskedLM:
    return build("bert", scale=12.0)


def by_hand(model: MaskedLM, text: Tensor, blocks: int) -> float:
    """One text of no padding, one pass a block."""
    ids = [*model.space.prefix, *text.tolist(), *model.space.suffix]
    total = 0.0
    for block in range(blocks):
        sites = list(range(block, len(text), blocks))
        masked = torch.tensor([ids])
        masked[0, [len(model.space.prefix) + site for site in sites]] = model.mask_id
        laws = model.model(input_ids=masked).logits[0].log_softmax(dim=1)
        total -= sum(float(laws[len(model.space.prefix) + site, text[site]]) for site in sites)
    return total


@pytest.mark.parametrize("blocks", [1, 2, 3, 50])
def test_it_is_the_sum_over_blocks_masked_together(model: MaskedLM, blocks: int):
    x = model.space.encode(TEXTS)
    lengths = model.space.lengths(x).tolist()
    with torch.inference_mode():
        expected = [by_hand(model, row[:length], blocks) for row, length in zip(x, lengths, strict=True)]
        for tokens in (1, 30, 10**6):
            cut = MaskedLM(model.model, model.space.tokenizer, tokens_per_pass=tokens)
            assert BlockwiseEnergy(cut, blocks)(x).tolist() == pytest.approx(expected, abs=1e-4)
            cut.close()
    if blocks == 50:
        assert BlockwiseEnergy(model, blocks)(x).tolist() == pytest.approx(MaskedEnergy(model, "pll")(x).tolist())


def test_a_long_text_costs_as_many_rows_as_there_are_blocks(model: MaskedLM):
    model.tokens_per_pass = 10**9
    meter, x = Meter(model), model.space.encode(["a b c d e f a b c d", "a b"])
    with torch.inference_mode():
        BlockwiseEnergy(model, 3)(x)
    assert (meter.passes, meter.encoder_rows, meter.head_rows) == (1, 3 + 2, 10 + 2)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("lock", ["no lock", "word", "twice"])
def test_as_a_surrogate_it_leaves_the_pseudo_likelihood_exact(lock: str, steps: int):
    space, energy = problem("pll", lock)
    inner = MetropolisHastings(GibbsProposal(lm(), lock=LOCKS[lock]()))
    surrogate = BlockwiseEnergy(lm(), 2)
    assert float((surrogate(space.states) - MaskedEnergy(lm(), "pll")(space.states)).abs().max()) > 0.1
    kernel = DelayedAcceptance(surrogate, inner, steps=steps)
    matrix = transition_matrix(kernel, space)
    assert_exact(matrix, space)
    if lock == "word" and steps == 3:
        assert_runs(kernel, matrix, space, energy)


@pytest.mark.parametrize("blocks", [0, -1])
def test_blocks_below_one_are_refused(model: MaskedLM, blocks: int):
    with pytest.raises(InvalidInput, match=f"blocks is {blocks}; give at least 1"):
        BlockwiseEnergy(model, blocks)


def test_a_text_that_is_too_long_is_refused(model: MaskedLM):
    with pytest.raises(InvalidInput, match="bound the length"):
        BlockwiseEnergy(model)(torch.full((1, model.max_length + 1), int(model.allowed.nonzero()[0])))
