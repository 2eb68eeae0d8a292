"""A masked language model so small that the law of either energy is known exactly, state by state."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import GibbsProposal, MaskedEnergy, Truncation
from samplers import Cycle, Flat, Kernel, MetropolisHastings, Proposed, PseudoGibbs, sample
from samplers.randomness import generator
from samplers.testing.chains import (
    detailed_balance_error,
    invariance_error,
    is_primitive,
    stationary_law,
    transition_matrix,
)
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters.tiny import TableLM, words_lm

WORDS = ("red", "green", "blue", "grey")
SITES = 3
CHAINS = 2**14
TRUNCATIONS = {
    "whole": Truncation(),
    "hot": Truncation(temperature=1.7),
    "top-k": Truncation(top_k=2),
    "top-p": Truncation(top_p=0.7),
    "all three": Truncation(temperature=0.7, top_k=3, top_p=0.9),
}
KINDS = ("raw", "pll")
SCANS = ("random", "systematic")

blocks = pytest.mark.parametrize("block", [1, 2, 3])
kinds = pytest.mark.parametrize("kind", KINDS)
scans = pytest.mark.parametrize("scan", SCANS)
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))


@cache
def lm() -> TableLM:
    return words_lm(WORDS, table=SITES, seed=2)


@cache
def texts(lengths: tuple[int, ...] = (SITES,)) -> Tensor:
    """Every text of those lengths."""
    words = lm().space.encode([" ".join(WORDS)])[0]
    padded = torch.full((0, SITES), lm().space.pad_id)
    for length in lengths:
        rows = torch.full((len(WORDS) ** length, SITES), lm().space.pad_id)
        rows[:, :length] = words[enumerate_states(len(WORDS), length)]
        padded = torch.cat([padded, rows])
    return padded


@cache
def target(kind: str, lengths: tuple[int, ...] = (SITES,)) -> Enumerated:
    return Enumerated(texts(lengths), MaskedEnergy(lm(), kind))


def proposals(block: int, truncation: Truncation, scan: str) -> list[GibbsProposal]:
    """One proposal a turn."""
    proposal = GibbsProposal(lm(), block, truncation=truncation)
    return [proposal] if scan == "random" else proposal.scan(SITES)


class GivenBlock:
    """``inner`` with the block of every state of ``space`` fixed: what a step is once the block is drawn."""

    def __init__(self, inner: GibbsProposal, space: Enumerated, hidden: Tensor) -> None:
        self.inner, self.space, self.hidden = inner, space, hidden

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        raise NotImplementedError

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return self.inner.block_log_prob(x_to, x_from, self.hidden[self.space.index(x_from)])


def step_matrix(kernel: type[MetropolisHastings | PseudoGibbs], proposal: GibbsProposal, space: Enumerated) -> Tensor:
    """The mean over the blocks of the matrix given the block."""
    matrix = torch.zeros(len(space), len(space), dtype=torch.float64)
    for hidden, log_weight in proposal.blocks(space.states):
        given = transition_matrix(kernel(GivenBlock(proposal, space, hidden)), space)
        matrix += log_weight.exp().unsqueeze(1) * given
    return matrix


def end_states(kernel: Kernel, energy: object, start: Tensor, steps: int, seed: int = 0) -> Tensor:
    trace = sample(
        kernel, energy, start, steps=steps, seed=seed, warmup=steps - 1, shard_size=len(start), progress=False
    )
    return trace.draws[:, -1]


def strain(space: Enumerated, x: Tensor, law: Tensor) -> float:
    """``n * KL`` of the states ``x`` to ``law`` over its gate: above 1 is a rejection."""
    observed = torch.bincount(space.index(x), minlength=len(space))
    counts, law = pool(observed, law)
    return kl_statistic(counts, law) / kl_gate(len(law))


@cache
def exact_starts(kind: str) -> Tensor:
    return target(kind).sample(CHAINS, generator(11))


def kernel_of(block: int, truncation: Truncation, scan: str) -> Kernel:
    parts = [MetropolisHastings(p) for p in proposals(block, truncation, scan)]
    return parts[0] if len(parts) == 1 else Cycle(parts)


def test_the_table_is_the_model():
    plain = words_lm(WORDS, seed=2)
    x = texts()
    for sites in ([0], [1, 2], [0, 1, 2]):
        hidden = torch.zeros_like(x, dtype=torch.bool)
        hidden[:, sites] = True
        torch.testing.assert_close(lm().logits(x, hidden), plain.logits(x, hidden), atol=1e-5, rtol=0)
    torch.testing.assert_close(MaskedEnergy(lm(), "pll")(x), MaskedEnergy(plain, "pll")(x), atol=1e-5, rtol=0)


def test_the_laws_can_be_told_apart():
    raw, pll = (target(kind).probabilities() for kind in KINDS)
    flat = torch.full_like(raw, 1 / len(raw))
    assert all(0.5 * (a - b).abs().sum() > 0.2 for a, b in ((raw, pll), (raw, flat), (pll, flat)))


@truncations
@scans
@blocks
def test_density_adds_up_to_one(block: int, scan: str, truncation: Truncation):
    x = texts()
    size = len(x)
    for proposal in proposals(block, truncation, scan):
        total = torch.zeros(size, dtype=torch.float64)
        for hidden, log_weight in proposal.blocks(x):
            pairs = x.repeat(size, 1), x.repeat_interleave(size, dim=0), hidden.repeat_interleave(size, dim=0)
            rows = proposal.block_log_prob(*pairs).exp().reshape(size, size).sum(dim=1)
            assert float((rows - 1).abs().max()) < 1e-10
            total += log_weight.exp()
        assert float((total - 1).abs().max()) < 1e-10
        whole = proposal.log_prob(x.repeat(size, 1), x.repeat_interleave(size, dim=0)).exp().reshape(size, size)
        assert float((whole.sum(dim=1) - 1).abs().max()) < 1e-10


@truncations
@scans
@blocks
def test_returned_densities_are_those_of_the_block(block: int, scan: str, truncation: Truncation):
    """The block is read off where every site was redrawn to another word, so only such rows are judged."""
    x = exact_starts("pll")[:4096]
    for proposal in proposals(block, truncation, scan):
        proposed = proposal(x, generator(5))
        hidden = proposed.x != x
        full = hidden.sum(dim=1) == block
        assert int(full.sum()) > 100
        new, old, hidden = proposed.x[full], x[full], hidden[full]
        forward, reverse = proposal.block_log_prob(new, old, hidden), proposal.block_log_prob(old, new, hidden)
        assert torch.allclose(proposed.log_q_forward[full], forward, atol=1e-10, rtol=0)
        assert torch.allclose(proposed.log_q_reverse[full], reverse, atol=1e-10, rtol=0)


@truncations
@scans
@blocks
def test_draws_follow_the_density(block: int, scan: str, truncation: Truncation):
    space = target("pll")
    for place in (27, 63):
        start = texts()[place].expand(CHAINS, -1)
        for proposal in proposals(block, truncation, scan)[:2]:
            law = proposal.log_prob(texts(), texts()[place].expand(len(texts()), -1)).exp()
            assert strain(space, proposal(start, generator(3, place)).x, law) < 1


@kinds
@truncations
@scans
@blocks
def test_exact_matrix(block: int, scan: str, truncation: Truncation, kind: str):
    space = target(kind)
    law = space.probabilities()
    matrices = [step_matrix(MetropolisHastings, p, space) for p in proposals(block, truncation, scan)]
    sweep = torch.eye(len(space), dtype=torch.float64)
    for matrix in matrices:
        assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
        assert invariance_error(matrix, law) < 1e-12
        assert detailed_balance_error(matrix, law) < 1e-12
        sweep = sweep @ matrix
    assert invariance_error(sweep, law) < 1e-12
    if truncation.top_k is None and truncation.top_p == 1:
        assert is_primitive(sweep)
        assert float((stationary_law(sweep) - law).abs().max()) < 1e-9


@kinds
@pytest.mark.parametrize("block", [2, 3])
def test_exact_matrix_of_texts_of_all_lengths(block: int, kind: str):
    """A text shorter than the block is redrawn as a whole; lengths never mix."""
    space = target(kind, (1, 2, 3))
    law = space.probabilities()
    lengths = lm().space.lengths(space.states)
    apart = lengths.unsqueeze(0) != lengths.unsqueeze(1)
    for proposal in [p for scan in SCANS for p in proposals(block, Truncation(top_p=0.9), scan)]:
        matrix = step_matrix(MetropolisHastings, proposal, space)
        assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
        assert float(matrix[apart].max()) == 0
        assert invariance_error(matrix, law) < 1e-12
        assert detailed_balance_error(matrix, law) < 1e-12


@kinds
@truncations
@pytest.mark.parametrize("block", [1, 2])
def test_what_runs_is_what_was_proved(block: int, truncation: Truncation, kind: str):
    """One step from every state, compared with the exact matrix row by row."""
    space = target(kind)
    matrix = step_matrix(MetropolisHastings, GibbsProposal(lm(), block, truncation=truncation), space)
    copies = 1024
    start = texts().repeat_interleave(copies, dim=0)
    after = end_states(kernel_of(block, truncation, "random"), MaskedEnergy(lm(), kind), start, 1).reshape(
        -1, copies, SITES
    )
    assert max(strain(space, x, row) for x, row in zip(after, matrix, strict=True)) < 1


@kinds
@pytest.mark.parametrize("steps", [1, 16])
@pytest.mark.parametrize("truncation", [TRUNCATIONS["whole"], TRUNCATIONS["all three"]], ids=["whole", "all three"])
@scans
@pytest.mark.parametrize("block", [1, 2])
def test_end_states_follow_the_law(block: int, scan: str, truncation: Truncation, steps: int, kind: str):
    x = end_states(kernel_of(block, truncation, scan), MaskedEnergy(lm(), kind), exact_starts(kind), steps)
    assert not torch.equal(x, exact_starts(kind))
    assert strain(target(kind), x, target(kind).probabilities()) < 1


@kinds
def test_end_states_of_texts_of_all_lengths(kind: str):
    space = target(kind, (1, 2, 3))
    start = space.states[torch.randint(len(space), (CHAINS,), generator=generator(4))]
    lengths = lm().space.lengths(start)
    for length in (1, 2, 3):
        same = lm().space.lengths(space.states) == length
        law = space.probabilities() * same
        start[lengths == length] = space.states[
            torch.multinomial(law, int((lengths == length).sum()), replacement=True, generator=generator(length))
        ]
    x = end_states(kernel_of(2, Truncation(), "random"), MaskedEnergy(lm(), kind), start, 8)
    assert torch.equal(lm().space.lengths(x), lengths)
    for length in (1, 2, 3):
        same = lm().space.lengths(space.states) == length
        law = space.probabilities() * same
        assert strain(space, x[lengths == length], law / law.sum()) < 1


@kinds
def test_the_model_itself_through_sample(kind: str):
    """The end states again, by real forward passes."""
    plain = words_lm(WORDS, seed=2)
    start = exact_starts(kind)[: 2**12]
    x = end_states(MetropolisHastings(GibbsProposal(plain, 1)), MaskedEnergy(plain, kind), start, 4)
    assert strain(target(kind), x, target(kind).probabilities()) < 1


@kinds
@scans
@pytest.mark.parametrize("block", [1, 2])
def test_without_the_accept_step_neither_law_is_hit(block: int, scan: str, kind: str):
    parts = [PseudoGibbs(p) for p in proposals(block, Truncation(), scan)]
    kernel = parts[0] if len(parts) == 1 else Cycle(parts)
    x = end_states(kernel, Flat(), exact_starts(kind), 16)
    assert strain(target(kind), x, target(kind).probabilities()) > 3


def test_without_the_accept_step_the_scan_decides_the_law():
    space = target("pll")
    (random,) = (step_matrix(PseudoGibbs, p, space) for p in proposals(1, Truncation(), "random"))
    first, second, third = (step_matrix(PseudoGibbs, p, space) for p in proposals(1, Truncation(), "systematic"))
    laws = [stationary_law(m) for m in (random, first @ second @ third, third @ second @ first)]
    apart = [0.5 * float((a - b).abs().sum()) for a, b in ((laws[0], laws[1]), (laws[0], laws[2]), (laws[1], laws[2]))]
    assert min(apart) > 0.01
    for law in laws:
        assert all(0.5 * float((law - target(kind).probabilities()).abs().sum()) > 0.01 for kind in KINDS)


def test_without_the_reverse_density_the_gate_closes():
    """The negative control of this file: Metropolis' ratio with a proposal that is not symmetric."""

    class Forgetful(GibbsProposal):
        def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
            proposed = super().__call__(x, rng)
            zero = torch.zeros_like(proposed.log_q_forward)
            return Proposed(proposed.x, zero, zero, hint=proposed.hint)

    x = end_states(MetropolisHastings(Forgetful(lm())), MaskedEnergy(lm(), "pll"), exact_starts("pll"), 16)
    assert strain(target("pll"), x, target("pll").probabilities()) > 10


@truncations
def test_a_move_without_a_way_back_is_rejected(truncation: Truncation):
    x = exact_starts("pll")[:4096]
    proposed = GibbsProposal(lm(), 2, truncation=truncation)(x, generator(1))
    oneway = proposed.log_q_reverse == -math.inf
    cut = truncation.top_k is not None or truncation.top_p < 1
    assert bool(oneway.any()) == cut
    x1 = end_states(MetropolisHastings(_Same(proposed)), MaskedEnergy(lm(), "pll"), x, 1)
    assert torch.equal(x1[oneway], x[oneway])


class _Same:
    """Proposes what was proposed before."""

    def __init__(self, proposed: Proposed) -> None:
        self.proposed = proposed

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        return self.proposed

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        raise NotImplementedError
