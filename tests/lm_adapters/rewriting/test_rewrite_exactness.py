"""Rewritten texts by exact enumeration: every text of four tokens up to length three, with every lock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import RewriteProposal, Truncation
from lm_adapters.rewriting.kept_words import Kept
from samplers import Proposed
from samplers.randomness import generator
from samplers.testing import (
    BatteryFailed,
    check_proposal,
    detailed_balance_error,
    invariance_error,
    proposal_matrix,
)
from tests.lm_adapters.rewriting.tiny_writers import (
    CHAINS,
    LOCKS,
    SITES,
    TRUNCATIONS,
    distance,
    end_states,
    follows,
    labelled_matrix,
    lm,
    problem,
    texts,
)

locks = pytest.mark.parametrize("lock", LOCKS)
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))


def made(lock: str, truncation: Truncation | None = None, kind: type[RewriteProposal] = RewriteProposal, **options):
    options = {"keep": 0.4, "max_length": SITES} | options
    return kind(lm(), lock=LOCKS[lock](lm().space), truncation=truncation, **options)


def every_kept(proposal: RewriteProposal) -> list[Kept]:
    return sorted({kept for words in proposal.kept.words(texts()) for kept in proposal.kept.every(words)})


@cache
def densities(lock: str, truncation: Truncation | None, shortest: int = 1) -> list[tuple[Tensor, Tensor]]:
    """For each of the words that may be kept: ``log K(c | x)`` and ``log q(x | c)`` of every text."""
    proposal = made(lock, truncation, min_length=shortest)
    words, stuck, count = proposal.kept.words(texts()), proposal._stuck(texts()), len(texts())
    kept = every_kept(proposal)
    log_q = proposal.kept_log_prob(texts().repeat(len(kept), 1), [c for c in kept for _ in range(count)])
    return [
        (proposal.kept.log_prob([c] * count, words).masked_fill(stuck, -math.inf), q)
        for c, q in zip(kept, log_q.split(count), strict=True)
    ]


def matrix(lock: str, ratio: Callable[[Tensor, Tensor], Tensor], truncation: Truncation | None = None) -> Tensor:
    """``ratio(log K(c | from), log q(to | c))`` is what the accept step takes for the density."""

    def labels() -> Iterator[tuple[Tensor, Tensor]]:
        for log_k, log_q in densities(lock, truncation):
            yield log_k.unsqueeze(1) + log_q, ratio(log_k.unsqueeze(1), log_q.expand(len(log_q), -1))

    return labelled_matrix(problem(LOCKS[lock](lm().space)), labels())


@locks
@truncations
@pytest.mark.parametrize("shortest", [1, 2])
def test_exact_matrix(lock: str, truncation: Truncation, shortest: int):
    space = problem(LOCKS[lock](lm().space))
    found = densities(lock, truncation, shortest)
    whole = labelled_matrix(space, ((log_k.unsqueeze(1) + log_q,) * 2 for log_k, log_q in found))
    law = space.probabilities()
    assert float(whole.min()) > -1e-12
    assert invariance_error(whole, law) < 1e-12
    assert detailed_balance_error(whole, law) < 1e-12
    if not truncation.cuts and shortest == 1:
        assert float(whole[law > 0][:, law > 0].min()) > 0  # from any text to any other


@locks
def test_what_may_be_kept_has_probability_one_and_the_texts_too(lock: str):
    found = densities(lock, None)
    total = torch.stack([log_k for log_k, _ in found]).exp().sum(dim=0)
    assert float((total[total > 0] - 1).abs().max()) < 1e-12
    assert max(abs(float(log_q.exp().sum()) - 1) for _, log_q in found) < 1e-10


@pytest.mark.parametrize(
    ("lock", "truncation"), [("no lock", None), ("of two tokens", TRUNCATIONS["cut"]), ("any order", None)]
)
def test_draws_follow_the_density(lock: str, truncation: Truncation | None):
    """T1a and T1c; T1b compares the density of a label with the sum over labels, which it is not meant for."""
    with pytest.raises(BatteryFailed) as caught:
        check_proposal(made(lock, truncation), texts(), draws=CHAINS, starts=2)
    assert [result.test for result in caught.value.report.failures] == ["T1b"]


@pytest.mark.parametrize("lock", ["in order", "twice in any order"])
def test_log_prob_is_the_sum_over_labels(lock: str):
    found = densities(lock, None)
    expected = torch.stack([log_k.unsqueeze(1) + log_q for log_k, log_q in found]).logsumexp(dim=0)
    log_q = proposal_matrix(made(lock), texts())
    held = expected.isfinite().any(dim=1)
    torch.testing.assert_close(log_q[held], expected[held], atol=1e-10, rtol=0)
    assert torch.equal(log_q[~held].exp(), torch.eye(len(held), dtype=torch.float64)[~held])


@locks
def test_returned_densities_are_those_of_a_label(lock: str):
    """Of every proposed pair some label has exactly the two densities that were returned."""
    proposal, space = made(lock), problem(LOCKS[lock](lm().space))
    x = space.sample(1024, generator(1))
    proposed = proposal(x, generator(5))
    log_k, log_q = (torch.stack(each) for each in zip(*densities(lock, None), strict=True))
    old, new = space.index(x), space.index(proposed.x)
    there = distance(proposed.log_q_forward, log_k[:, old] + log_q[:, new])
    back = distance(proposed.log_q_reverse, log_k[:, new] + log_q[:, old])
    assert float(torch.maximum(there, back).amin(dim=0).max()) < 1e-10
    assert bool((proposed.log_q_reverse == -math.inf).any())
    assert int(proposed.log_q_reverse.isfinite().sum()) > 10


@pytest.mark.parametrize(
    ("lock", "truncation"),
    [("no lock", "cut"), ("word", "whole"), ("of two tokens", "whole"), ("any order", "whole"), ("twice", "cut")],
)
def test_what_runs_is_what_was_proved(lock: str, truncation: str):
    space, options = problem(LOCKS[lock](lm().space)), (lock, TRUNCATIONS[truncation])
    whole = matrix(lock, torch.add, TRUNCATIONS[truncation]).clamp(min=0)
    row = int((space.probabilities() > 0).nonzero()[-1])
    x = end_states(made(*options), space, space.states[row].expand(CHAINS, -1), 1)
    assert follows(space, x, whole[row])
    x = end_states(made(*options), space, space.sample(CHAINS, generator(11)), 2)
    assert follows(space, x, space.probabilities())


MUTANTS = {
    "without the density of the way back": lambda log_k, log_q: log_k,
    "without the embedding count": lambda log_k, log_q: torch.where(log_k > -math.inf, log_q, -math.inf),
}


@locks
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_ratio_that_leaves_something_out_misses_the_law(lock: str, mutant: Callable[[Tensor, Tensor], Tensor]):
    law = problem(LOCKS[lock](lm().space)).probabilities()
    assert invariance_error(matrix(lock, torch.add), law) < 1e-12
    assert invariance_error(matrix(lock, mutant), law) > 1e-4


class NoWayBack(RewriteProposal):
    """Leaves out ``q(x | c)``, and ``q(x' | c)`` with it."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        seen: list[Tensor] = []
        self.writer.log_prob = lambda sources, *rest: torch.zeros(len(sources), dtype=torch.float64)
        draw = self.writer.draw
        self.writer.draw = lambda *given: (seen.append((drawn := draw(*given)).log_q), drawn)[1]
        proposed = super().__call__(x, rng)
        del self.writer.log_prob, self.writer.draw
        forward = proposed.log_q_forward - seen[0].where(~self._stuck(x), 0.0)
        return replace(proposed, log_q_forward=forward)


class NoCount(RewriteProposal):
    """Leaves out ``K``, but for whether it is 0."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        count = self.kept.log_prob
        self.kept.log_prob = lambda *given: torch.where(count(*given) > -math.inf, 0.0, -math.inf).double()
        proposed = super().__call__(x, rng)
        del self.kept.log_prob
        return proposed


@pytest.mark.parametrize(
    ("kind", "keep", "steps", "chains"), [(NoWayBack, 0.2, 2, CHAINS), (NoCount, 0.8, 6, 2 * CHAINS)]
)
def test_runs_of_broken_moves_are_rejected(kind: type[RewriteProposal], keep: float, steps: int, chains: int):
    space, proposal = problem(None), made("no lock", kind=kind, keep=keep)
    x = end_states(proposal, space, space.sample(chains, generator(11)), steps)
    assert not follows(space, x, space.probabilities())
