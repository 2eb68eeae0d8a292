"""T1: the densities of a proposal add up to 1, are those returned with a draw, and are those of the draws."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.kernels.hooks import draw_alone, proposal_matrix
from samplers.randomness import generator
from samplers.testing.cases import Case
from samplers.testing.gates import ALPHA, kl_gate, kl_statistic, pool
from samplers.testing.report import Report, Result, Skipped
from samplers.testing.simulate import DRAWS
from samplers.testing.spaces import parts_of
from samplers.testing.targets import Enumerated
from samplers.types import Kernel, Proposal

__all__ = ["PROPOSAL_TITLES", "check_proposal", "check_proposals"]

EXACT = 1e-10
STARTS = 8
PROPOSAL_TITLES = {
    "T1a": "exp(log_prob) adds up to 1 over all new states",
    "T1b": "the densities returned with a draw are log_prob of the move and of its reverse",
    "T1c": "draws follow log_prob",
}


def check_proposal(
    proposal: Proposal,
    states: Tensor,
    rng: torch.Generator | None = None,
    *,
    name: str = "proposal",
    draws: int = DRAWS,
    starts: int = STARTS,
    max_rows: int = DRAWS,
) -> Report:
    """Prove that a proposal draws what its density says, over a list of states that it does not leave::

        check_proposal(MyProposal(), enumerate_states(values=4, sites=3))

    Main arguments
        ``states [states, sites]``: all that the proposal can reach from any of them.
    Other arguments
        ``rng``: what the draws come from (default: seed 0); ``draws`` from each of ``starts`` states spread over the
        list; ``max_rows`` bounds the rows of one call.
    Returns
        a ``Report`` of three tests. T1a: ``exp(log_prob)`` adds up to 1 over all new states, from every old one. T1b:
        the densities returned with a draw are ``log_prob`` of the move and of its reverse, a memory is that of the new
        state, and ``draw`` alone returns the same states. T1c: draws follow ``log_prob``.
    Raises
        ``BatteryFailed`` when a test fails, with the report as ``report``.
    """
    rng = generator(0) if rng is None else rng
    results = proposal_results(proposal, states, rng, name=name, draws=draws, starts=starts, max_rows=max_rows)
    return Report(type(proposal).__name__, results, titles=PROPOSAL_TITLES).checked()


def proposal_results(
    proposal: Proposal,
    states: Tensor,
    rng: torch.Generator,
    *,
    name: str,
    draws: int,
    starts: int = STARTS,
    max_rows: int = DRAWS,
) -> list[Result]:
    """The results of T1a, T1b and T1c."""
    space = Enumerated(states, lambda x: torch.zeros(len(x), dtype=torch.float64))
    log_q = proposal_matrix(proposal, states, max_rows=max_rows)
    sums = float((log_q.exp().sum(dim=1) - 1).abs().max())
    reported = Result("T1b", name, 0.0, EXACT)
    worst = Result("T1c", name, 0.0, kl_gate(len(states), ALPHA / starts))
    for old in torch.linspace(0, len(states) - 1, min(starts, len(states))).long().unique().tolist():
        counts = torch.zeros(len(states), dtype=torch.int64)
        for size in _sizes(draws, max_rows):
            new, error, what = _draw(proposal, space, old, size, log_q, rng)
            if error > reported.statistic:
                reported = Result("T1b", name, error, EXACT, f"{what}, from state {states[old].tolist()}")
            counts += new.bincount(minlength=len(states))
        if reported.statistic == math.inf:
            return [Result("T1a", name, sums, EXACT), reported]  # draws without a density are not worth counting
        seen, law = pool(counts, log_q[old].exp())
        gate = kl_gate(int((law > 0).sum()), ALPHA / starts)
        found = Result("T1c", name, kl_statistic(seen, law), gate, f"from state {states[old].tolist()}")
        worst = max(worst, found, key=lambda result: result.ratio)
    return [Result("T1a", name, sums, EXACT), reported, worst]


def check_proposals(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T1: of every proposal that the case's kernel is made with."""
    results: list[Result] = []
    for proposal in proposals_of(case.kernel):
        rng = generator(seed, stream="proposal")
        results += proposal_results(proposal, case.target.states, rng, name=case.name, draws=draws)
    if not results:
        raise Skipped(f"{type(case.kernel).__name__} keeps no proposal in an attribute 'proposal'")
    return results


def proposals_of(kernel: Kernel) -> Iterator[Proposal]:
    """What a kernel and its parts keep in an attribute ``proposal``."""
    if hasattr(kernel, "proposal"):
        yield kernel.proposal
    for part in parts_of(kernel):
        yield from proposals_of(part)


def _draw(
    proposal: Proposal, space: Enumerated, old: int, size: int, log_q: Tensor, rng: torch.Generator
) -> tuple[Tensor, float, str]:
    """Indices of ``size`` draws from state ``old``, the largest error of what was returned with them, and of what."""
    x, memory_of = space.states[old].expand(size, -1).clone(), getattr(proposal, "memory", None)
    again, draw = rng.clone_state(), draw_alone(proposal)
    proposed = proposal(x, rng, *([] if memory_of is None else [memory_of(x)]))
    if draw is not None and not torch.equal(draw(x, again), proposed.x):
        return torch.zeros(0, dtype=torch.int64), math.inf, "draw(x, rng) returns other states than a call"
    try:
        new = space.index(proposed.x)
    except InvalidInput as error:
        return torch.zeros(0, dtype=torch.int64), math.inf, str(error)
    returned = {
        "log_q_forward": (proposed.log_q_forward, log_q[old, new]),
        "log_q_reverse": (proposed.log_q_reverse, log_q[new, old]),
    }
    if memory_of is not None:
        if proposed.memory is None:
            return new, math.inf, "no memory was returned"
        returned["memory"] = (proposed.memory, memory_of(proposed.x))
    errors = {
        name: float(torch.where(given == true, 0.0, (given - true).abs()).nan_to_num(math.inf).max())
        for name, (given, true) in returned.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    return new, errors[worst], f"{worst} is wrong"


def _sizes(total: int, most: int) -> list[int]:
    return [min(most, total - done) for done in range(0, total, most)]
