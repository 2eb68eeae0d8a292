"""Multiple-try Metropolis: several proposals a step, one of them chosen by weight."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.row_numbers import row_numbers
from samplers.energy.terms import Evaluation
from samplers.errors import InvalidInput
from samplers.kernels.hooks import Space, proposal_matrix
from samplers.kernels.locally_informed import Balance, check_balance, log_balanced
from samplers.kernels.metropolis import (
    MetropolisHastings,
    check_proposed,
    current_memory,
    log_acceptance,
    score_proposed,
    step_info,
)
from samplers.randomness import categorical, log_uniform
from samplers.types import ChainState, Energy, Proposal, Proposed, StepInfo, select

__all__ = ["MultipleTry"]


class _Tries(NamedTuple):
    """``tries`` rows for each chain, chain by chain: proposals, their energies, and log-weights ``[chains, tries]``."""

    proposed: Proposed
    scored: Evaluation
    log_weights: Tensor


class MultipleTry(Configurable):
    """Draw ``tries`` proposals, choose one by weight, and draw as many from it, less one, to weigh the way back.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``.
    Acceptance ratio
        ``min(1, W(x) / W(x'))``: ``W(x)`` is the sum of ``g(r(x, y))`` over the tries ``y``, ``W(x')`` that of
        ``g(r(x', z))`` over the references ``z`` drawn from ``x'``, and ``z = x``. ``r(x, y)`` is the Hastings ratio
        ``pi(y) q(x | y) / (pi(x) q(y | x))``.
    Reversible
        yes.
    Proof
        Liu, Liang & Wong 2000, Journal of the American Statistical Association 95, section 2, and for weights of any
        kind Pandolfi, Bartolucci & Friel 2010, AISTATS: with the choice of ``x'`` the ratio is ``r(x, x')
        g(r(x', x)) / g(r(x, x')) * W(x) / W(x')``, and ``g(t) = t g(1/t)`` (Zanella 2020) cancels the first factors.
        Without the references the tries that were not chosen would bias the law.
    Cost
        ``tries`` proposals and energy rows a chain, and ``tries - 1`` for the references, in one call each. A
        proposal's memory is kept as in ``MetropolisHastings``.

    Main arguments: ``proposal``, which must draw the rows of a call independently of each other; ``tries``.
    ``balance`` is ``g``, as for ``LocallyInformed``. With one try it is Metropolis-Hastings.

    It accepts more and calls models seldom, with many rows each: of use where a row in a large batch costs less. By
    energy rows it cannot beat its own proposal by much, since half of them only weigh the way back.

    Raises ``InvalidInput`` for ``tries`` below 1 and unusable arguments, ``ProposalError`` for a bad proposal.
    """

    transient = ("_single",)

    def __init__(self, proposal: Proposal, *, tries: int = 4, balance: Balance = "sqrt") -> None:
        if tries < 1:
            raise InvalidInput(f"tries is {tries}; give at least 1")
        self._single = MetropolisHastings(proposal)
        self.proposal, self.tries, self.balance = proposal, tries, check_balance(balance)
        self.move_names = self._single.move_names

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return self._single.init(x, energy)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        chains, compute = len(state.x), getattr(self.proposal, "memory", None)
        rows = torch.arange(chains, device=state.x.device)
        memory = None if compute is None else current_memory(compute, state.x, **state.aux)
        tried = self._try(state, energy, rng, self.tries, beta, memory)
        stuck = (tried.log_weights == -math.inf).all(dim=1)
        choice = categorical(tried.log_weights.masked_fill(stuck.unsqueeze(1), 0.0), rng)
        log_u = log_uniform(chains, rng)
        at = rows * self.tries + choice
        x = select(stuck, state.x, tried.proposed.x[at])
        value = select(stuck, state.energy, tried.scored.energy[at])
        terms = select(stuck, state.terms, tried.scored.terms[at])
        new_memory = None
        if memory is not None and tried.proposed.memory is not None:
            new_memory = select(stuck, memory, tried.proposed.memory[at])
        forward, reverse = tried.proposed.log_q_forward[at], tried.proposed.log_q_reverse[at]
        back = log_balanced(self.balance, log_acceptance(value, state.energy, reverse, forward, beta)).unsqueeze(1)
        if self.tries > 1:
            chosen = ChainState(x, value, state.aux, terms)
            others = self._try(chosen, energy, rng, self.tries - 1, beta, new_memory).log_weights
            back = torch.cat([back, others], dim=1)
        log_ratio = torch.where(state.energy == math.inf, math.inf, self._log_ratio(tried.log_weights, back))
        accepted = ~stuck & (log_u < log_ratio)
        after = select(accepted, x, state.x)
        aux = state.aux
        if memory is not None and new_memory is not None:
            aux = {"of": after.clone(), "memory": select(accepted, new_memory, memory)}
        move = None if tried.proposed.move is None else tried.proposed.move[at]
        energies = select(accepted, value, state.energy)
        return ChainState(after, energies, aux, select(accepted, terms, state.terms)), step_info(
            state.x, after, accepted, move
        )

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: exact probabilities of a step (see ``hooks``), for a few states and tries only."""
        log_q, energy = proposal_matrix(self.proposal, space.states), space.energy(space.states)
        q, energies = log_q.exp(), energy.expand_as(log_q)
        weight = log_balanced(self.balance, log_acceptance(energies.T, energies, log_q, log_q.T, beta)).exp() * (q > 0)
        size, others = len(q), self.tries - 1
        tuples = torch.zeros(1, 0, dtype=torch.int64)
        if others:
            tuples = torch.cartesian_prod(*[torch.arange(size)] * others).reshape(-1, others)
        sums, chances = weight[:, tuples].sum(dim=2), q[:, tuples].prod(dim=2)
        matrix = torch.zeros_like(q)
        rejected = (q * (weight == 0)).sum(dim=1) ** self.tries
        for x in range(size):
            total = weight[x].unsqueeze(1) + sums[x]  # [to, tuples of the other tries]
            share = self.tries * q[x].unsqueeze(1) * chances[x] * (weight[x].unsqueeze(1) / total).nan_to_num(nan=0.0)
            back = weight[:, x].unsqueeze(1) + sums  # [to, tuples of the references]
            ratio = total.unsqueeze(2) / back.unsqueeze(1)
            accept = torch.ones_like(ratio) if energy[x] == math.inf else ratio.clamp(max=1).nan_to_num(nan=0.0)
            moved = (share.unsqueeze(2) * chances.unsqueeze(1) * accept).sum(dim=(1, 2))
            matrix[x] += moved
            rejected[x] += float((share.unsqueeze(2) * chances.unsqueeze(1) * (1 - accept)).sum())
        return matrix + torch.diag(rejected)

    def cost(self, x: Tensor) -> tuple[int, int]:
        """Two calls; chains that cannot move cost no row."""
        return min(self.tries, 2), len(x) * (2 * self.tries - 1)

    def _log_ratio(self, forward: Tensor, back: Tensor) -> Tensor:
        """``log W(x) - log W(x')``; log-weights ``[chains, tries]`` of tries and of references, ``x`` first."""
        return forward.logsumexp(dim=1) - back.logsumexp(dim=1)

    def _try(
        self,
        state: ChainState,
        energy: Energy,
        rng: torch.Generator,
        tries: int,
        beta: float | Tensor,
        memory: Tensor | None,
    ) -> _Tries:
        x, value, terms = (part.repeat_interleave(tries, dim=0) for part in (state.x, state.energy, state.terms))
        known = [] if memory is None else [memory.repeat_interleave(tries, dim=0)]
        proposed = check_proposed(self.proposal(x.clone(), rng, *known), x, *known)
        with row_numbers(lambda row: row // tries):
            scored = score_proposed(ChainState(x, value, {}, terms), energy, proposed, None)
        beta = beta.repeat_interleave(tries) if isinstance(beta, Tensor) and beta.dim() else beta
        log_ratio = log_acceptance(value, scored.energy, proposed.log_q_forward, proposed.log_q_reverse, beta)
        return _Tries(proposed, scored, log_balanced(self.balance, log_ratio).reshape(-1, tries))
