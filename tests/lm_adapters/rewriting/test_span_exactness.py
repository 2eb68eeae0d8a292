"""Rewritten spans by exact enumeration: every text of four tokens up to length three, with locks and in a template."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SpanProposal, Template, Truncation
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

HELD = {
    **LOCKS,
    "template": lambda space: Template(space, "[MASK:1-2] red [MASK]"),
    "template that ends": lambda space: Template(space, "green [MASK:1-2]"),
    "template of one length": lambda space: Template(space, "[MASK:2] red"),
}
locks = pytest.mark.parametrize("lock", HELD)
models = pytest.mark.parametrize("own_task", [True, False], ids=["infill", "T5"])


def made(lock: str, own_task: bool = True, kind: type[SpanProposal] = SpanProposal, **options: object) -> SpanProposal:
    options = {"longest": 2, "max_length": SITES} | options
    return kind(lm(own_task), lock=HELD[lock](lm().space), **options)


@cache
def densities(
    lock: str, own_task: bool = True, longest: int = 2, shortest: int = 1, truncation: Truncation | None = None
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """By label ``(left, right)``: the density of the move, ``[from, to]``, that of the span alone, and a way back."""
    proposal = made(lock, own_task, longest=longest, min_length=shortest, truncation=truncation)
    states, size = texts(), len(texts())
    spans, lengths = proposal.spans(states), lm().space.lengths(states)
    old, new = states.repeat_interleave(size, dim=0), states.repeat(size, 1)
    found = []
    for left in range(SITES + 1):
        for right in range(SITES + 1 - left):
            log_q = torch.full((size, size), -math.inf, dtype=torch.float64)
            back = torch.zeros(size, size, dtype=torch.bool)
            for width in range(longest + 1):
                rows = (lengths - left - right == width).nonzero().squeeze(1)
                rows = rows[spans[rows, left, width]] if left <= SITES else rows
                if not len(rows):
                    continue
                pairs = (rows.unsqueeze(1) * size + torch.arange(size)).flatten()
                log_q[rows] = proposal.label_log_prob(new[pairs], old[pairs], left, width).reshape(-1, size)
                start = torch.full_like(pairs, left)
                sizes = torch.full_like(pairs, width), lengths.repeat(size)[pairs] - left - right
                back[rows] = proposal.can_undo(old[pairs], start, sizes[0], new[pairs], sizes[1]).reshape(-1, size)
            count = spans.flatten(1).sum(dim=1).clamp(min=1).double().log()
            found.append((log_q, log_q + count.unsqueeze(1), back))
    return found


def whole_matrix(lock: str, mutant: Callable[[Tensor, Tensor], Tensor] | None = None, **options: object) -> Tensor:
    """``mutant(log q of the labelled move, of the span alone)`` is what the accept step takes for the density."""

    def labels() -> Iterator[tuple[Tensor, Tensor]]:
        for log_q, span, back in densities(lock, **options):
            taken = log_q if mutant is None else mutant(log_q, span)
            yield log_q, taken.masked_fill(~back, -math.inf).where(back | (log_q == -math.inf), -math.inf)

    def stays(log_q: Tensor, log_ratio: Tensor) -> tuple[Tensor, Tensor]:
        # A move without a way back is drawn, and rejected: it has no share in the matrix.
        return log_q.where(log_ratio > -math.inf, -math.inf), log_ratio

    return labelled_matrix(problem(HELD[lock](lm().space)), (stays(*each) for each in labels()))


@locks
@models
def test_exact_matrix(lock: str, own_task: bool):
    law = problem(HELD[lock](lm().space)).probabilities()
    matrix = whole_matrix(lock, own_task=own_task)
    assert float(matrix.min()) > -1e-12
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12


@pytest.mark.parametrize("lock", ["no lock", "of two tokens", "template"])
@pytest.mark.parametrize(
    "options", [{"longest": 1}, {"longest": 3}, {"shortest": 2}, {"truncation": TRUNCATIONS["cut"]}]
)
def test_exact_matrix_of_every_option(lock: str, options: dict[str, object]):
    law = problem(HELD[lock](lm().space)).probabilities()
    matrix = whole_matrix(lock, **options)
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    if options == {"longest": 3}:
        assert float(matrix[law > 0][:, law > 0].sum(dim=1).min()) > 1 - 1e-12


def test_whole_texts_are_redrawn_where_nothing_is_locked():
    matrix = whole_matrix("no lock", longest=3)
    assert float(matrix.min()) > 0


@locks
def test_the_densities_of_every_label_add_up_to_one(lock: str):
    total = torch.stack([log_q for log_q, _, _ in densities(lock)]).exp().sum(dim=(0, 2))
    moving = made(lock).spans(texts()).flatten(1).any(dim=1)
    assert bool(moving.any())
    torch.testing.assert_close(total, moving.double(), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("lock", "own_task"), [("word", True), ("template", True), ("no lock", False)])
def test_draws_follow_the_density(lock: str, own_task: bool):
    """T1a and T1c; T1b compares the density of a label with the sum over labels, which it is not meant for."""
    with pytest.raises(BatteryFailed) as caught:
        check_proposal(made(lock, own_task), texts(), draws=CHAINS, starts=3)
    assert [result.test for result in caught.value.report.failures] == ["T1b"]


@pytest.mark.parametrize("lock", ["no lock", "any order", "template"])
def test_log_prob_is_the_sum_over_labels(lock: str):
    expected = torch.stack([log_q for log_q, _, _ in densities(lock)]).logsumexp(dim=0)
    moving = made(lock).spans(texts()).flatten(1).any(dim=1)
    log_q = proposal_matrix(made(lock), texts())
    torch.testing.assert_close(log_q[moving], expected[moving], atol=1e-10, rtol=0)


@locks
def test_what_runs_has_the_densities_of_a_label(lock: str):
    """Of every proposed pair some label has exactly the two densities that were returned."""
    proposal, space = made(lock), problem(HELD[lock](lm().space))
    x = space.sample(512, generator(1))
    proposed = proposal(x, generator(5))
    old, new = space.index(x), space.index(proposed.x)
    log_q = torch.stack([log_q for log_q, _, _ in densities(lock)])
    ways_back = torch.stack([log_q.T.masked_fill(~back, -math.inf) for log_q, _, back in densities(lock)])

    there = distance(proposed.log_q_forward, log_q[:, old, new])
    back = distance(proposed.log_q_reverse, ways_back[:, old, new])
    assert float(torch.maximum(there, back).amin(dim=0).max()) < 1e-10
    assert int(proposed.log_q_reverse.isfinite().sum()) > 100


@pytest.mark.parametrize("lock", ["no lock", "of two tokens", "twice", "any order", "template"])
def test_what_runs_is_what_was_proved(lock: str):
    space = problem(HELD[lock](lm().space))
    row = int((space.probabilities() > 0).nonzero()[-1])
    x = end_states(made(lock), space, space.states[row].expand(CHAINS, -1), 1)
    assert follows(space, x, whole_matrix(lock)[row].clamp(min=0))
    x = end_states(made(lock), space, space.sample(CHAINS, generator(11)), 3)
    assert follows(space, x, space.probabilities())


MUTANTS = {
    "without the density of the way back": lambda log_q, span: torch.where(log_q > -math.inf, log_q - span, -math.inf),
    "without the probability of the label": lambda log_q, span: span,
}


@pytest.mark.parametrize("lock", ["no lock", "word", "of two tokens", "in order", "any order"])
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_ratio_that_leaves_something_out_misses_the_law(lock: str, mutant: Callable[[Tensor, Tensor], Tensor]):
    assert invariance_error(whole_matrix(lock, mutant), problem(HELD[lock](lm().space)).probabilities()) > 1e-4


class NoLabel(SpanProposal):
    """Leaves the number of spans out of the ratio."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed = super().__call__(x, rng)
        there, back = (self.spans(each).flatten(1).sum(dim=1).clamp(min=1).double().log() for each in (x, proposed.x))
        return replace(
            proposed, log_q_forward=proposed.log_q_forward + there, log_q_reverse=proposed.log_q_reverse + back
        )


class NoWayBack(SpanProposal):
    """Leaves the density of the old span out of the ratio, and that of the new one with it."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        seen = []
        draw = self.writer.draw
        self.writer.draw = lambda *given: (seen.append(drawn := draw(*given)), drawn)[1]
        proposed = super().__call__(x, rng)
        del self.writer.draw
        forward, reverse = proposed.log_q_forward - seen[0].log_q, proposed.log_q_reverse - seen[0].log_q_old
        return replace(proposed, log_q_forward=forward, log_q_reverse=reverse.nan_to_num(-math.inf, neginf=-math.inf))


@pytest.mark.parametrize("kind", [NoLabel, NoWayBack])
def test_runs_of_broken_moves_are_rejected(kind: type[SpanProposal]):
    space = problem(HELD["word"](lm().space))
    x = end_states(made("word", kind=kind), space, space.sample(CHAINS, generator(11)), 12)
    assert not follows(space, x, space.probabilities())
