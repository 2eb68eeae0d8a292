"""Sequential blocks: exact matrices over every short text, with locks, and runs that follow; broken ones do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lm_adapters import GibbsProposal, Keywords, MaskedEnergy, SequentialBlock, Truncation
from lm_adapters.locks.base import free_sites
from samplers import Cycle, InvalidInput, MetropolisHastings, Proposed
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing import Enumerated, detailed_balance_error, proposal_matrix
from tests.lm_adapters.forward.test_cost import Meter
from tests.lm_adapters.proposals.test_moves_exactness import (
    CHAINS,
    LOCKS,
    SITES,
    assert_exact,
    assert_runs,
    end_states,
    follows,
    lm,
    locks,
    problem,
    targets,
    texts,
    truncations,
)
from tests.lm_adapters.tiny import build

blocks = pytest.mark.parametrize("block", [1, 2, 3])


def labelled(proposal: SequentialBlock, states: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each block in each order its log-probability in every state, and ``float64 [from, to]`` of what it draws."""
    size, found = len(states), []
    pairs = states.repeat(size, 1), states.repeat_interleave(size, dim=0)
    for order, log_weight in proposal.blocks(states):
        if proposal.turn is None:
            possible = (log_weight > -math.inf).nonzero().squeeze(1)
            labels = order[possible[:1]] if len(possible) else order[:0]
        else:
            labels = order.unique(dim=0)
        for label in labels:
            same = (order == label).all(dim=1) if proposal.turn is not None else log_weight > -math.inf
            given = label.where(lm().space.is_token(pairs[1]), -1)
            filled = proposal.block_log_prob(*pairs, given).reshape(size, size)
            found.append((log_weight.masked_fill(~same, -math.inf), filled))
    return found


def step_matrix(proposal: SequentialBlock, space: Enumerated) -> Tensor:
    """Metropolis-Hastings label by label."""
    energy = space.energies.expand(len(space), len(space))
    matrix = torch.zeros(len(space), len(space), dtype=torch.float64)
    for log_weight, filled in labelled(proposal, space.states):
        log_q = log_weight.unsqueeze(1) + filled
        accept = log_acceptance(energy.T, energy, log_q, log_q.T).clamp(max=0).exp().where(log_q > -math.inf, 0.0)
        matrix += log_q.exp() * accept + torch.diag((log_q.exp() * (1 - accept)).sum(dim=1))
    return matrix


@targets
@truncations
@locks
@blocks
def test_exact_matrix(block: int, lock: str, truncation: Truncation, target: str):
    space, _ = problem(target, lock)
    assert_exact(step_matrix(SequentialBlock(lm(), block, truncation=truncation, lock=LOCKS[lock]()), space), space)


@locks
def test_exact_matrix_of_each_turn_of_a_scan(lock: str):
    space, _ = problem("random", lock)
    for proposal in SequentialBlock(lm(), 2, lock=LOCKS[lock]()).scan(SITES):
        assert isinstance(proposal, SequentialBlock)
        matrix = step_matrix(proposal, space)
        assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
        assert detailed_balance_error(matrix, space.probabilities()) < 1e-12


@truncations
@pytest.mark.parametrize(("lock", "target"), [("no lock", "pll"), ("word", "random"), ("number follows", "random")])
@pytest.mark.parametrize("block", [2, 3])
def test_what_runs_is_what_was_proved(block: int, lock: str, truncation: Truncation, target: str):
    space, energy = problem(target, lock)
    proposal = SequentialBlock(lm(), block, truncation=truncation, lock=LOCKS[lock]())
    assert_runs(MetropolisHastings(proposal), step_matrix(proposal, space), space, energy)


@pytest.mark.parametrize("lock", ["word", "number follows"])
def test_a_scan_keeps_the_law(lock: str):
    space, energy = problem("pll", lock)
    parts = [MetropolisHastings(turn) for turn in SequentialBlock(lm(), 2, lock=LOCKS[lock]()).scan(SITES)]
    assert follows(
        space, end_states(Cycle(parts), energy, space.sample(CHAINS, generator(11)), 9), space.probabilities()
    )


@locks
@blocks
def test_density_adds_up_to_one(block: int, lock: str):
    """And a block of one site is that of ``GibbsProposal``."""
    log_q = proposal_matrix(SequentialBlock(lm(), block, lock=LOCKS[lock]()), texts())
    assert float((log_q.exp().sum(dim=1) - 1).abs().max()) < 1e-12
    alike = torch.allclose(log_q, proposal_matrix(GibbsProposal(lm(), block, lock=LOCKS[lock]()), texts()), atol=1e-9)
    assert alike == (block == 1) or lock in ("in order", "any order", "phrase", "twice")


class Told(SequentialBlock):
    """Keeps the orders that it draws."""

    def order(self, x: Tensor, rng: torch.Generator) -> Tensor:
        self.drawn = super().order(x, rng)
        return self.drawn


@truncations
@locks
@pytest.mark.parametrize("block", [2, 3])
def test_returned_densities_are_those_of_the_labelled_move(block: int, lock: str, truncation: Truncation):
    proposal = Told(lm(), block, truncation=truncation, lock=LOCKS[lock]())
    space, _ = problem("random", lock)
    x = space.sample(2048, generator(1))
    proposed = proposal(x, generator(5))
    order = proposal.drawn
    forward, reverse = (proposal.block_log_prob(*pair, order) for pair in ((proposed.x, x), (x, proposed.x)))
    if proposal.lock is not None:
        forward, reverse = (q + proposal._log_block(y, order >= 0) for q, y in ((forward, x), (reverse, proposed.x)))
    reverse = reverse.masked_fill((order < 0).all(dim=1), -math.inf)
    torch.testing.assert_close(proposed.log_q_forward, forward, atol=1e-10, rtol=0)
    torch.testing.assert_close(proposed.log_q_reverse, reverse, atol=1e-10, rtol=0)
    free = free_sites(lm().space, proposal.lock, x)
    assert torch.equal((order >= 0).sum(dim=1), free.sum(dim=1).clamp(max=block))
    assert not bool(((order >= 0) & ~free).any())
    assert not bool((proposed.x != x)[order < 0].any())


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_the_energy_takes_the_last_row_from_the_hint(block: int):
    x = texts()[lm().space.lengths(texts()) > 1]
    proposed = SequentialBlock(lm(), block)(x, generator(2))
    energy = MaskedEnergy(lm(), "pll")
    torch.testing.assert_close(energy.values(proposed.x, proposed.hint), energy(proposed.x), atol=1e-9, rtol=0)
    some = torch.arange(0, len(x), 3)
    torch.testing.assert_close(
        energy.values(proposed.x[some], proposed.hint[some]), energy(proposed.x[some]), atol=1e-9, rtol=0
    )
    hint = proposed.hint
    wrong = replace(hint, token=torch.where(hint.token == x.max(), x[0, 0], x.max()))
    assert not torch.allclose(energy.values(proposed.x, wrong), energy(proposed.x))


@pytest.mark.parametrize("block", [1, 2, 4])
def test_so_many_calls_and_rows(block: int):
    meter = Meter(build("bert", scale=12.0))
    x = meter.lm.space.encode(["a b c d e f"] * 5)
    meter.reset()
    with torch.inference_mode():
        SequentialBlock(meter.lm, block)(x, generator(0))
    assert (meter.passes, meter.encoder_rows, meter.head_rows) == (block, 5 * (2 * block - 1), 5 * (2 * block - 1))


def test_a_text_without_a_free_site_is_kept():
    proposal = SequentialBlock(lm(), 2, lock=Keywords(lm().space, ["red", "green"]))
    x = lm().space.encode(["red green", "red green blue", "blue red"])
    for rows in (slice(0, 1), slice(0, 2)):
        proposed = proposal(x[rows], generator(0))
        assert torch.equal(proposed.x[0], x[0])
        assert float(proposed.log_q_reverse[0]) == -math.inf
    with pytest.raises(InvalidInput, match="block_size is 0"):
        SequentialBlock(lm(), 0)


class WithoutReverse(SequentialBlock):
    """The density of the way back left out."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        return replace(super().__call__(x, rng), log_q_reverse=torch.zeros(len(x), dtype=torch.float64))


class SortedBack(Told):
    """The way back is filled from left to right, whatever the order of the way there."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed = super().__call__(x, rng)
        inside = self.drawn >= 0
        back = (inside.cumsum(dim=1) - 1).masked_fill(~inside, -1)
        return replace(proposed, log_q_reverse=self.block_log_prob(x, proposed.x, back))


class BackFromTheNew(Told):
    """The way back given the tokens of the new text before each site, not of the old one."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed = super().__call__(x, rng)
        reverse = torch.zeros(len(x), dtype=torch.float64)
        for turn, logits in enumerate(self._logits(proposed.x, self.drawn, range(self.block_size))):
            reverse += self._log_share(logits, x[self.drawn == turn])
        return replace(proposed, log_q_reverse=reverse)


class OneRow(Told):
    """The densities of independent draws."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed, rows = super().__call__(x, rng), GibbsProposal(self.model, self.block_size)
        densities = (rows.block_log_prob(*pair, self.drawn >= 0) for pair in ((proposed.x, x), (x, proposed.x)))
        return Proposed(proposed.x, *densities)


@pytest.mark.parametrize("kind", [SequentialBlock, WithoutReverse, SortedBack, BackFromTheNew, OneRow])
def test_broken_ones_are_rejected(kind: type[SequentialBlock]):
    """On texts of three tokens; the first is whole."""
    space, energy = problem("pll", "no lock")
    law = space.probabilities() * (lm().space.lengths(space.states) == SITES)
    start = space.states[torch.multinomial(law, 4 * CHAINS, replacement=True, generator=generator(4))]
    kernel = MetropolisHastings(kind(lm(), 3 if kind is BackFromTheNew else 2))
    assert follows(space, end_states(kernel, energy, start, 6), law / law.sum()) == (kind is SequentialBlock)
