"""What a step costs, counted by hooks: encoder passes and rows that reach the vocabulary head."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lm_adapters import GibbsProposal, MaskedEnergy, MaskedLM
from samplers import ChainState, Energy, Flat, Kernel, MetropolisHastings, PseudoGibbs
from samplers.randomness import generator
from samplers.run import start_chains
from tests.lm_adapters import tiny

LENGTH = 6
CHAINS = [1, 2, 32, 300]
chain_counts = pytest.mark.parametrize("chains", CHAINS)


class Meter:
    """Counts of a model: encoder passes, their rows, and rows of the head."""

    def __init__(self, lm: MaskedLM) -> None:
        self.lm = lm
        lm.model.base_model.register_forward_pre_hook(self._encoder, with_kwargs=True)
        lm.model.get_output_embeddings().register_forward_hook(self._head)
        self.reset()

    def reset(self) -> None:
        self.passes = self.encoder_rows = self.head_rows = 0
        self.widths: list[int] = []

    def _encoder(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        self.passes += 1
        ids = args[0] if args else kwargs["input_ids"]
        self.encoder_rows += len(ids)
        self.widths.append(ids.shape[1])

    def _head(self, module: torch.nn.Module, args: tuple, output: torch.Tensor) -> None:
        self.head_rows += args[0][..., 0].numel()


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    lm = tiny.build("bert", scale=12.0)
    lm.tokens_per_pass = 10**9
    return Meter(lm)


def one_step(meter: Meter, kernel: Kernel, energy: Energy, chains: int, width: int = LENGTH) -> ChainState:
    x = meter.lm.space.masks([LENGTH] * chains, width)
    x[meter.lm.space.is_token(x)] = int(meter.lm.space.encode(["a"])[0, 0])
    state = start_chains(kernel, energy, x)
    meter.reset()
    with torch.inference_mode():
        return kernel.step(state, energy, generator(0))[0]


def moved(meter: Meter, chains: int, block: int = 1) -> int:
    """How many chains of ``one_step`` get another text proposed."""
    x = meter.lm.space.encode(["a " * LENGTH] * chains)
    passes = meter.passes, meter.encoder_rows, meter.head_rows, list(meter.widths)
    with torch.inference_mode():
        new = GibbsProposal(meter.lm, block)(x, generator(0)).x
    meter.passes, meter.encoder_rows, meter.head_rows, meter.widths = passes
    return int((new != x).any(dim=1).sum())


@chain_counts
@pytest.mark.parametrize("block", [1, 2])
def test_pseudo_gibbs_is_one_pass(meter: Meter, chains: int, block: int):
    one_step(meter, PseudoGibbs(GibbsProposal(meter.lm, block)), Flat(), chains)
    assert (meter.passes, meter.encoder_rows, meter.head_rows) == (1, chains, block * chains)


@chain_counts
@pytest.mark.parametrize("kind", ["raw", "pll"])
def test_one_site_on_the_own_energy_is_length_rows(meter: Meter, chains: int, kind: str):
    """One to propose; for a proposal that is another text the hint has one more, and the others are scored."""
    one_step(meter, MetropolisHastings(GibbsProposal(meter.lm, 1)), MaskedEnergy(meter.lm, kind), chains)
    rows = chains + (LENGTH - 1) * moved(meter, chains)
    if kind == "pll":  # in three waves, and no further than a rejection needs
        assert chains <= meter.encoder_rows == meter.head_rows <= rows
        assert meter.passes <= 1 + 3 * (rows > chains)
    else:
        assert (meter.encoder_rows, meter.head_rows) == (rows, rows)
        assert meter.passes == 1 + (rows > chains)


@chain_counts
def test_a_block_on_the_own_energy_is_length_and_one_rows(meter: Meter, chains: int):
    one_step(meter, MetropolisHastings(GibbsProposal(meter.lm, 2)), MaskedEnergy(meter.lm, "raw"), chains)
    assert (meter.passes, meter.encoder_rows, meter.head_rows) == (2, (LENGTH + 1) * chains, (LENGTH + 2) * chains)


@pytest.mark.parametrize("tokens", [8, 80, 800])
def test_passes_are_as_few_as_the_budget_allows(meter: Meter, tokens: int):
    meter.lm.tokens_per_pass = tokens
    one_step(meter, MetropolisHastings(GibbsProposal(meter.lm, 1)), MaskedEnergy(meter.lm, "raw"), 32)
    meter.lm.tokens_per_pass = 10**9
    rows_per_pass = tokens // (LENGTH + 2)
    assert meter.passes == -(-32 // rows_per_pass) + -(-32 * (LENGTH - 1) // rows_per_pass)
    assert meter.head_rows == 32 * LENGTH


def test_spare_width_costs_nothing(meter: Meter):
    one_step(meter, MetropolisHastings(GibbsProposal(meter.lm, 1)), MaskedEnergy(meter.lm, "raw"), 3, width=15)
    assert meter.widths == [LENGTH + 2] * 2


@pytest.mark.parametrize("block", [1, 2])
def test_one_chain_is_the_row_of_many(meter: Meter, block: int):
    """Given the block and the draw, a chain's densities and energy do not depend on its company."""
    lm = meter.lm
    x = lm.space.encode(["a b c d", "the old house by", "e f g h"])
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, :block] = True
    proposal = GibbsProposal(lm, block)
    new = proposal(x, generator(0)).x
    together = proposal.block_log_prob(new.where(hidden, x), x, hidden)
    rows = [proposal.block_log_prob(new.where(hidden, x)[i : i + 1], x[i : i + 1], hidden[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(rows), together, atol=1e-5, rtol=0)
    energies = torch.cat([MaskedEnergy(lm, "pll")(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(energies, MaskedEnergy(lm, "pll")(x), atol=1e-5, rtol=0)
