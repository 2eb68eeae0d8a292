"""T1: a proposal draws what its density says, adds up to 1, and reports the density that it has."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.kernels.hooks import proposal_matrix
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
        the densities returned with a draw are ``log_prob`` of the move and of its reverse, and a memory is that of the
        new state. T1c: draws follow ``log_prob``.
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
    """The three results."""
    space = Enumerated(states, lambda x: torch.zeros(len(x), dtype=torch.float64))
    log_q = proposal_matrix(proposal, states, max_rows=max_rows)
    sums = float((log_q.exp().sum(dim=1) - 1).abs().max())
    slip, worst = 0.0, Result("T1c", name, 0.0, kl_gate(len(states), ALPHA / starts))
    for old in torch.linspace(0, len(states) - 1, min(starts, len(states))).long().unique().tolist():
        counts = torch.zeros(len(states), dtype=torch.int64)
        for size in _sizes(draws, max_rows):
            new, error = _draw(proposal, space, old, size, log_q, rng)
            slip = max(slip, error)
            counts += new.bincount(minlength=len(states))
        if slip == math.inf:
            worst = Result("T1c", name, math.inf, worst.gate, f"draws of density 0 from state {states[old].tolist()}")
            break
        seen, law = pool(counts, log_q[old].exp())
        gate = kl_gate(int((law > 0).sum()), ALPHA / starts)
        worst = max(
            worst,
            Result("T1c", name, kl_statistic(seen, law), gate, f"from state {states[old].tolist()}"),
            key=lambda r: r.strain,
        )
    return [Result("T1a", name, sums, EXACT), Result("T1b", name, slip, EXACT), worst]


def check_proposals(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T1 of every proposal inside the case's kernel."""
    results: list[Result] = []
    for proposal in proposals_of(case.kernel):
        results += proposal_results(proposal, case.target.states, generator(seed, 2), name=case.name, draws=draws)
    if not results:
        raise Skipped(f"{type(case.kernel).__name__} keeps no proposal in an attribute 'proposal'")
    return results


def proposals_of(kernel: Kernel) -> Iterator[Proposal]:
    """The proposals of a kernel and of its parts: what they keep in an attribute ``proposal``."""
    if hasattr(kernel, "proposal"):
        yield kernel.proposal
    for part in parts_of(kernel):
        yield from proposals_of(part)


def _draw(
    proposal: Proposal, space: Enumerated, old: int, size: int, log_q: Tensor, rng: torch.Generator
) -> tuple[Tensor, float]:
    """Indices of ``size`` draws from state ``old``, and the worst error of the densities that came with them."""
    x, remember = space.states[old].expand(size, -1).clone(), getattr(proposal, "memory", None)
    proposed = proposal(x, rng, *([] if remember is None else [remember(x)]))
    try:
        new = space.index(proposed.x)
    except InvalidInput:  # a state that is not listed: density 0 there
        return torch.zeros(0, dtype=torch.int64), math.inf
    error = 0.0
    told = [(proposed.log_q_forward, log_q[old, new]), (proposed.log_q_reverse, log_q[new, old])]
    if remember is not None:
        if proposed.memory is None:
            return new, math.inf
        told.append((proposed.memory, remember(proposed.x)))
    for given, true in told:
        error = max(error, float(torch.where(given == true, 0.0, (given - true).abs()).nan_to_num(math.inf).max()))
    return new, error


def _sizes(total: int, most: int) -> list[int]:
    return [min(most, total - done) for done in range(0, total, most)]
