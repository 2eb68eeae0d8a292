"""Rescored replace, swaps and blocks beside locked text: exact matrices over every short text, and runs that follow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor

from lm_adapters import GibbsProposal, MaskedEnergy, Truncation
from lm_adapters.locks.base import Lock, free_sites
from lm_adapters.locks.keywords import Keywords
from lm_adapters.proposals.shortlist import LikeliestTokens, RescoredReplace
from lm_adapters.proposals.swap import SwapProposal
from samplers import CallCounter, Cycle, EnergyTerm, InvalidInput, Kernel, MetropolisHastings, Proposed, named, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.randomness import generator
from samplers.testing import (
    BatteryFailed,
    Enumerated,
    check_proposal,
    detailed_balance_error,
    enumerate_states,
    invariance_error,
    proposal_matrix,
    row_result,
    transition_matrix,
)
from samplers.testing.mutants import ForcedCurrent
from tests.lm_adapters.forward.test_cost import Meter
from tests.lm_adapters.tiny import TableLM, build, words_lm

WORDS = ("red", "green", "blue", "grey")
SITES = 3
CHAINS = 2**12
TRUNCATIONS = {"whole": Truncation(), "cut": Truncation(temperature=0.7, top_k=3, top_p=0.9)}


@cache
def lm() -> TableLM:
    return words_lm(WORDS, table=SITES, seed=2)


@cache
def texts(words: int = len(WORDS), sites: int = SITES) -> Tensor:
    """Every text of 1 to ``sites`` words, ``int64 [texts, sites]``."""
    ids = lm().space.encode([" ".join(WORDS[:words])])[0]
    parts = [ids[enumerate_states(words, length)] for length in range(1, sites + 1)]
    return torch.cat([torch.nn.functional.pad(p, (0, sites - p.shape[1]), value=lm().space.pad_id) for p in parts])


class FirstByLast(Lock):
    """Holds the first token where the last is the first of ``WORDS``: the number of free sites follows the text."""

    name = "first by last"

    def __init__(self) -> None:
        self.space, self.word = lm().space, int(texts()[0, 0])

    def pieces(self, x: Tensor) -> Tensor:
        last = x.gather(1, self.space.lengths(x).unsqueeze(1) - 1)
        return torch.nn.functional.pad((last == self.word).long(), (0, x.shape[1] - 1))

    def found(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=torch.bool)


LOCKS = {
    "no lock": lambda: None,
    "word": lambda: Keywords(lm().space, ["red"]),
    "phrase": lambda: Keywords(lm().space, ["red green"]),
    "in order": lambda: Keywords(lm().space, ["red", "green"]),
    "any order": lambda: Keywords(lm().space, ["red", "green"], any_order=True),
    "twice": lambda: Keywords(lm().space, ["red", "red"]),
    "number follows": FirstByLast,
}
locks = pytest.mark.parametrize("lock", LOCKS)
targets = pytest.mark.parametrize("target", ["pll", "random"])
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))
blocks = pytest.mark.parametrize("block", [1, 2])


@cache
def problem(target: str, lock: str, words: int = len(WORDS), sites: int = SITES) -> tuple[Enumerated, EnergyTerm]:
    """All texts with their energies, and the energy that a run gets."""
    states = texts(words, sites)
    noise = torch.randn(len(states), dtype=torch.float64, generator=generator(5))
    energy = (
        MaskedEnergy(lm(), "pll") if target == "pll" else named("random", Enumerated(states, lambda x: noise).energy)
    )
    energy = energy if LOCKS[lock]() is None else energy + LOCKS[lock]()
    return Enumerated(states, energy), energy


def labels(proposal: GibbsProposal, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks as labels of moves, ``bool [sites]``, with their log-probability in each state."""
    if proposal.turn is None:
        for hidden, log_weight in proposal.blocks(states):
            possible = log_weight > -math.inf
            if bool(possible.any()):
                yield hidden[possible][0], log_weight
        return
    ((hidden, _),) = proposal.blocks(states)
    for label in hidden.unique(dim=0):
        same = (hidden == label).all(dim=1)
        yield label, torch.zeros(len(states), dtype=torch.float64).masked_fill(~same, -math.inf)


def block_matrix(proposal: GibbsProposal, space: Enumerated, *, weighed: bool = True) -> Tensor:
    """Metropolis-Hastings block by block, from the laws of the block and of what it is filled with.

    Not ``weighed``: with the ratio of the fillings alone, as if the block did not depend on the state.
    """
    states, size = space.states, len(space)
    energy = space.energies.expand(size, size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for label, log_weight in labels(proposal, states):
        pairs = states.repeat(size, 1), states.repeat_interleave(size, dim=0)
        filled = proposal.block_log_prob(*pairs, label & lm().space.is_token(pairs[1])).reshape(size, size)
        log_q = log_weight.unsqueeze(1) + filled
        there, back = (log_q, log_q.T) if weighed else (filled, filled.T)
        accept = log_acceptance(energy.T, energy, there, back).clamp(max=0).exp().where(log_q > -math.inf, 0.0)
        matrix += log_q.exp() * accept + torch.diag((log_q.exp() * (1 - accept)).sum(dim=1))
    return matrix


def assert_exact(matrix: Tensor, space: Enumerated) -> None:
    law = space.probabilities()
    assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    assert float(matrix.diag()[law > 0].min()) < 0.9  # it moves


def end_states(kernel: Kernel, energy: EnergyTerm, start: Tensor, steps: int) -> Tensor:
    options = {"warmup": steps - 1, "shard_size": len(start), "progress": False, "seed": 3}
    return sample(kernel, energy, start, steps=steps, **options).draws[:, -1]


def follows(space: Enumerated, x: Tensor, law: Tensor) -> bool:
    return row_result("law", "", space.index(x), law, pooled=True).passed


def assert_runs(kernel: Kernel, matrix: Tensor, space: Enumerated, energy: EnergyTerm) -> None:
    """One step from every allowed text follows the matrix; from exact starts the law is kept, lengths included."""
    allowed = (space.probabilities() > 0).nonzero().squeeze(1)
    copies = 256
    after = end_states(kernel, energy, space.states[allowed].repeat_interleave(copies, dim=0), 1)
    for row, x in zip(allowed.tolist(), after.split(copies), strict=True):
        assert follows(space, x, matrix[row])
    end = end_states(kernel, energy, space.sample(CHAINS, generator(11)), 8)
    assert follows(space, end, space.probabilities())


class TestRescored:
    @targets
    @locks
    @pytest.mark.parametrize("k", [1, 2, 3, 64])
    def test_exact_matrix(self, k: int, lock: str, target: str):
        space, _ = problem(target, lock)
        kernel = RescoredReplace(lm(), k, lock=LOCKS[lock]())
        matrix = transition_matrix(kernel, space)
        if k == 1:  # the only listed value is the current one, or none
            assert torch.equal(matrix, torch.eye(len(space), dtype=torch.float64))
        else:
            assert_exact(matrix, space)

    @pytest.mark.parametrize(("lock", "target"), [("no lock", "random"), ("word", "pll"), ("number follows", "random")])
    @pytest.mark.parametrize("k", [2, 64])
    def test_what_runs_is_what_was_proved(self, k: int, lock: str, target: str):
        space, energy = problem(target, lock)
        kernel = RescoredReplace(lm(), k, lock=LOCKS[lock]())
        assert kernel.move_names == ("rescored",)
        assert_runs(kernel, transition_matrix(kernel, space), space, energy)

    @pytest.mark.parametrize(("lock", "target"), [("no lock", "pll"), ("word", "random")])
    def test_with_the_current_token_forced_into_the_list_it_is_rejected(self, lock: str, target: str):
        """The published scheme: the negative control of this class."""
        space, energy = problem(target, lock)
        honest = RescoredReplace(lm(), 2, lock=LOCKS[lock]())
        forced = ShortlistGibbs(ForcedCurrent(honest.shortlist), free=honest.free)
        with pytest.raises(AssertionError):
            assert_exact(transition_matrix(forced, space), space)
        end = end_states(forced, energy, space.sample(CHAINS, generator(11)), 8)
        assert not follows(space, end, space.probabilities())

    def test_the_list_depends_on_the_other_sites_alone(self):
        shortlist = LikeliestTokens(lm(), 2)
        x = texts()
        lists = set()
        for site in range(SITES):
            rows = x[lm().space.lengths(x) > site]
            found = shortlist(rows, torch.full((len(rows),), site))
            context = rows.index_fill(1, torch.tensor([site]), lm().space.mask_id)
            given = {(tuple(c), tuple(v)) for c, v in zip(context.tolist(), found.tolist(), strict=True)}
            assert len(given) == len({c for c, _ in given})
            lists |= {v for _, v in given}
        assert len(lists) > 3

    def test_the_list_is_of_the_likeliest_proposable_tokens(self):
        x, site = texts()[-5:], torch.tensor([0, 1, 2, 1, 0])
        hidden = torch.nn.functional.one_hot(site, SITES).bool()
        ranked = Truncation().log_prob(lm().logits(x, hidden), lm().allowed).sort(dim=1, descending=True).indices
        assert torch.equal(LikeliestTokens(lm(), 3)(x, site), ranked[:, :3])
        assert LikeliestTokens(lm(), 64)(x, site).shape == (5, len(WORDS))

    def test_an_empty_list_is_refused(self):
        with pytest.raises(InvalidInput, match="k is 0"):
            RescoredReplace(lm(), 0)

    @pytest.mark.parametrize("chains", [1, 32])
    @pytest.mark.parametrize("k", [3, 10_000])
    def test_one_pass_and_one_call_a_step(self, k: int, chains: int):
        meter = Meter(build("bert", scale=12.0))
        x = meter.lm.space.encode(["a b c d e f"] * chains)
        energy = CallCounter(named("flat", lambda x: torch.zeros(len(x))))
        kernel = RescoredReplace(meter.lm, k, max_rows=10**6)
        state = kernel.init(x, energy)
        meter.reset()
        energy.calls = energy.rows = 0
        with torch.inference_mode():
            _, info = kernel.step(state, energy, generator(0))
        listed = min(k, int(meter.lm.allowed.sum()))
        assert (meter.passes, meter.encoder_rows, meter.head_rows) == (1, chains, chains)
        assert energy.calls <= 1
        assert energy.rows == listed * int(info.accepted.sum())
        assert bool(info.accepted.all()) or k == 3


class TestBlocks:
    @targets
    @truncations
    @locks
    @blocks
    def test_exact_matrix(self, block: int, lock: str, truncation: Truncation, target: str):
        space, _ = problem(target, lock)
        assert_exact(block_matrix(GibbsProposal(lm(), block, truncation=truncation, lock=LOCKS[lock]()), space), space)

    @truncations
    @locks
    @blocks
    def test_exact_matrix_of_each_turn_of_a_scan(self, block: int, lock: str, truncation: Truncation):
        space, _ = problem("random", lock)
        for proposal in GibbsProposal(lm(), block, truncation=truncation, lock=LOCKS[lock]()).scan(SITES):
            matrix = block_matrix(proposal, space)
            assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
            assert detailed_balance_error(matrix, space.probabilities()) < 1e-12

    @truncations
    @pytest.mark.parametrize(("lock", "target"), [("word", "pll"), ("number follows", "random")])
    @blocks
    def test_what_runs_is_what_was_proved(self, block: int, lock: str, truncation: Truncation, target: str):
        space, energy = problem(target, lock)
        proposal = GibbsProposal(lm(), block, truncation=truncation, lock=LOCKS[lock]())
        assert_runs(MetropolisHastings(proposal), block_matrix(proposal, space), space, energy)

    @pytest.mark.parametrize("lock", ["word", "number follows"])
    @blocks
    def test_a_scan_keeps_the_law(self, block: int, lock: str):
        space, energy = problem("pll", lock)
        parts = [MetropolisHastings(turn) for turn in GibbsProposal(lm(), block, lock=LOCKS[lock]()).scan(SITES)]
        end = end_states(Cycle(parts), energy, space.sample(CHAINS, generator(11)), 9)
        assert follows(space, end, space.probabilities())

    @locks
    @blocks
    def test_density_adds_up_to_one(self, block: int, lock: str):
        proposal = GibbsProposal(lm(), block, lock=LOCKS[lock]())
        every = texts()
        assert float((proposal_matrix(proposal, every).exp().sum(dim=1) - 1).abs().max()) < 1e-12

    @pytest.mark.parametrize("lock", ["word", "number follows"])
    @blocks
    def test_returned_densities_are_those_of_the_labelled_move(self, block: int, lock: str):
        """The block is read off where every site of it was redrawn to another word, so only such rows are judged."""
        proposal = GibbsProposal(lm(), block, lock=LOCKS[lock]())
        space, _ = problem("random", lock)
        x = space.sample(4096, generator(1))
        free = free_sites(lm().space, proposal.lock, x)
        proposed = proposal(x, generator(5))
        hidden = proposed.x != x
        full = (hidden.sum(dim=1) == free.sum(dim=1).clamp(max=block)) & hidden.any(dim=1)
        new, old, hidden = proposed.x[full], x[full], hidden[full]
        assert not bool((hidden & ~free[full]).any())

        def log_block(x: Tensor) -> Tensor:
            free = free_sites(lm().space, proposal.lock, x)
            counts, sizes = free.sum(dim=1).tolist(), hidden.sum(dim=1).tolist()
            possible = [size == min(n, block) for n, size in zip(counts, sizes, strict=True)]
            ways = [math.comb(n, size) for n, size in zip(counts, sizes, strict=True)]
            log_weight = -torch.tensor(ways, dtype=torch.float64).log()
            return log_weight.masked_fill(~torch.tensor(possible) | (hidden & ~free).any(dim=1), -math.inf)

        forward = log_block(old) + proposal.block_log_prob(new, old, hidden)
        reverse = log_block(new) + proposal.block_log_prob(old, new, hidden)
        assert torch.allclose(proposed.log_q_forward[full], forward, atol=1e-10, rtol=0)
        assert torch.allclose(proposed.log_q_reverse[full], reverse, atol=1e-10, rtol=0)
        assert bool((reverse == -math.inf).any())
        assert len(reverse[reverse > -math.inf]) > 100

    def test_without_the_probability_of_the_block_it_is_rejected(self):
        """The negative control of this class: the number of free sites differs there and back."""

        class Forgetful(GibbsProposal):
            def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
                proposed = super().__call__(x, rng)
                slip = self._counts(proposed.x) - self._counts(x)
                return Proposed(proposed.x, proposed.log_q_forward, proposed.log_q_reverse + slip, hint=proposed.hint)

            def _counts(self, x: Tensor) -> Tensor:
                return free_sites(lm().space, self.lock, x).sum(dim=1).clamp(min=1).double().log()

        space, energy = problem("random", "number follows")
        proposal = Forgetful(lm(), 1, lock=FirstByLast())
        with pytest.raises(AssertionError):
            assert_exact(block_matrix(proposal, space, weighed=False), space)
        end = end_states(MetropolisHastings(proposal), energy, space.sample(8 * CHAINS, generator(11)), 12)
        frees, ends = (free_sites(lm().space, FirstByLast(), x).sum(dim=1) for x in (space.states, end))
        law = torch.zeros(SITES + 1, dtype=torch.float64).index_add_(0, frees, space.probabilities())
        assert not row_result("law", "", ends, law, pooled=True).passed

    @blocks
    def test_a_text_without_a_free_site_is_kept(self, block: int):
        proposal = GibbsProposal(lm(), block, lock=Keywords(lm().space, ["red", "green"]))
        x = lm().space.encode(["red green", "red green blue"])
        for each in (proposal, *proposal.scan(SITES)):
            proposed = each(x, generator(0))
            assert torch.equal(proposed.x[0], x[0])
            assert (proposed.log_q_forward[0], proposed.log_q_reverse[0]) == (0, -math.inf)
            assert bool(proposed.log_q_reverse[1].isfinite())


class TestSwap:
    @pytest.mark.parametrize("lock", ["no lock", "word", "phrase", "in order", "any order", "number follows"])
    @pytest.mark.parametrize("span", [1, 2, 3])
    def test_exact_matrix(self, span: int, lock: str):
        space, _ = problem("random", lock, words=3, sites=4)
        matrix = transition_matrix(MetropolisHastings(SwapProposal(lm().space, span)), space)
        assert_exact(matrix, space)
        lengths = lm().space.lengths(space.states)
        assert float(matrix[lengths.unsqueeze(1) != lengths].max()) == 0

    @pytest.mark.parametrize("lock", ["no lock", "in order"])
    @pytest.mark.parametrize("span", [1, 3])
    def test_what_runs_is_what_was_proved(self, span: int, lock: str):
        space, energy = problem("random", lock, words=3, sites=4)
        kernel = MetropolisHastings(SwapProposal(lm().space, span))
        assert kernel.move_names == ("swap",)
        assert_runs(kernel, transition_matrix(kernel, space), space, energy)

    def test_pll(self):
        space, energy = problem("pll", "word")
        kernel = MetropolisHastings(SwapProposal(lm().space))
        matrix = transition_matrix(kernel, space)
        assert_exact(matrix, space)
        assert_runs(kernel, matrix, space, energy)

    @pytest.mark.parametrize("span", [1, 2, 3])
    def test_it_is_a_proposal(self, span: int):
        """Of distinct words no two pairs give the same text, so the density of the pair is that of the move."""
        proposal = SwapProposal(lm().space, span)
        ids = lm().space.encode([" ".join(WORDS)])[0]
        orders = enumerate_states(4, 4)
        distinct = ids[orders[[len(set(row)) == 4 for row in orders.tolist()]]]
        assert check_proposal(proposal, distinct, draws=2**12).passed
        every = texts(3, 4)
        with pytest.raises(BatteryFailed) as caught:  # there several pairs do, which T1b is not for
            check_proposal(proposal, every[lm().space.lengths(every) > 1], draws=2**12)
        assert [result.test for result in caught.value.report.failures] == ["T1b"]
        log_q = proposal_matrix(proposal, every)
        assert torch.equal(log_q, log_q.T)

    @pytest.mark.parametrize("length", range(1, 7))
    @pytest.mark.parametrize("span", [1, 2, 3])
    def test_every_pair_that_fits_is_equally_likely(self, span: int, length: int):
        space = words_lm("abcdef").space
        text = space.encode(["a b c d e f"])[0, :length].tolist()
        found = Counter(
            tuple(text[:i] + text[j : j + b] + text[i + a : j] + text[i : i + a] + text[j + b :])
            for a, b in product(range(1, span + 1), repeat=2)
            for i in range(length)
            for j in range(i + a, length - b + 1)
        ) or Counter([tuple(text)])
        pad = [space.pad_id] * 2
        to = torch.tensor([[*row, *pad] for row in found])
        log_q = SwapProposal(space, span).log_prob(to, torch.tensor([[*text, *pad]]).expand_as(to))
        expected = torch.tensor(list(found.values()), dtype=torch.float64) / found.total()
        assert torch.allclose(log_q.exp(), expected, atol=1e-12, rtol=0)

    def test_texts_of_one_token_are_kept(self):
        for width in (1, 3):
            x = texts()[:2, :1] if width == 1 else texts()[:2]
            proposed = SwapProposal(lm().space)(x, generator(0))
            assert torch.equal(proposed.x, x)
            assert proposed.log_q_forward.tolist() == [0, 0]
            assert proposed.log_q_reverse.tolist() == [-math.inf] * 2

    def test_no_span_is_refused(self):
        with pytest.raises(InvalidInput, match="max_span is 0"):
            SwapProposal(lm().space, 0)
