"""Several steps by draws of one distribution, which are made and scored together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.drawing import draw
from samplers.energy.evaluation import evaluate
from samplers.energy.row_numbers import row_numbers
from samplers.energy.terms import Evaluation
from samplers.independence import IndependenceProposal
from samplers.kernels.hooks import Space
from samplers.kernels.metropolis import (
    MetropolisHastings,
    check_proposed,
    current_memory,
    energy_limit,
    has_work_to_spare,
    log_acceptance,
    score_proposed,
    step_info,
)
from samplers.randomness import log_uniform
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Distribution, Drawn, Energy, Proposed, StepInfo, select

__all__ = ["IndependenceSteps", "Scored"]

TOGETHER = 64  # draws of all chains that are scored in one call: models read few at a time more slowly


class IndependenceSteps(Configurable):
    """``steps`` Metropolis-Hastings steps whose proposals are draws of ``distribution``, ``q``, made in one batch.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``.
    Acceptance ratio
        of each draw, one after the other: ``min(1, exp(beta (E(x) - E(x'))) q(x) / q(x'))``, ``x`` the state that the
        draws before it have led to.
    Reversible
        yes: a power of a reversible kernel.
    Proof
        Tierney 1994, Annals of Statistics 22, section 2.3.3, for one step; neither the draws nor the uniforms depend
        on the state, so that it makes no difference when they are made and scored.
    Cost
        ``steps`` draws a chain in one batch, which models draw faster than few at a time. About ``TOGETHER`` draws of
        all chains are scored in one call, no further than their rejection from the states before the call needs (see
        ``MetropolisHastings``); what a constraint forbids asks no model, and costs no more than its draw. Where a state
        is left for one from which more is accepted, a draw that was not scored to its end is scored once more when
        its turn comes. The density of the state is kept.

    It pays where few draws are accepted. ``StepInfo.accepted``: one of them was. Raises ``InvalidInput`` for
    ``steps`` below 1, and as ``IndependenceProposal`` does.
    """

    move_names: tuple[str, ...] = IndependenceProposal.move_names

    def __init__(self, distribution: Distribution, steps: int) -> None:
        check_counts(steps=steps)
        self.proposal, self.steps = IndependenceProposal(distribution), steps

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return MetropolisHastings(self.proposal).init(x, energy)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        before, chains = state.x, len(state.x)
        accepted = torch.zeros(chains, dtype=torch.bool, device=before.device)
        drawn = draw(self.proposal.distribution, chains * self.steps, rng)
        log_u = log_uniform(len(drawn.x), rng)
        memory = current_memory(self.proposal.memory, before, **state.aux)
        for rows in torch.arange(len(drawn.x), device=before.device).split(chains * self._together(chains)):
            scored = Scored.of(_rows(drawn, rows), log_u[rows], state, memory, energy, beta)
            for turn in torch.arange(len(rows), device=rows.device).split(chains):
                state, memory, taken = self._tried(scored.take(turn), state, memory, energy, beta)
                accepted |= taken
        return state._replace(aux={"of": state.x.clone(), "memory": memory}), step_info(before, state.x, accepted)

    def _tried(
        self, tried: Scored, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor
    ) -> tuple[ChainState, Tensor, Tensor]:
        """The states after a draw of each chain is tried, their log-densities, and where it was accepted."""
        drawn, new = tried.drawn, tried.known_from(state, memory, energy, beta)
        log_ratio = log_acceptance(state.energy, new.energy, drawn.log_q, memory, beta)
        accepted = tried.log_u < log_ratio
        value, terms = select(accepted, new.energy, state.energy), select(accepted, new.terms, state.terms)
        after = ChainState(select(accepted, drawn.x, state.x), value, state.aux, terms)
        return after, select(accepted, drawn.log_q, memory), accepted

    def _together(self, chains: int) -> int:
        """How many draws of each chain are scored in one call."""
        return min(self.steps, max(1, TOGETHER // chains))

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step (see ``hooks``)."""
        once = MetropolisHastings(self.proposal).step_matrix(space, beta)
        matrix: Tensor = torch.linalg.matrix_power(once, self.steps)
        return matrix

    def cost(self, x: Tensor) -> tuple[int, int]:
        """Every draw is scored once, and may be once more by itself."""
        calls = math.ceil(self.steps / self._together(len(x)))
        return calls + self.steps, 2 * self.steps * len(x)


@dataclass(frozen=True)
class Scored:
    """Draws ``drawn`` with the uniforms ``log_u`` of their accept steps, and what is ``known`` of their energies.

    An energy above its ``limit float64 [draws]``, if there are such, may be ``+inf``.
    """

    drawn: Drawn
    log_u: Tensor
    known: Evaluation
    limit: Tensor | None

    @classmethod
    def of(
        cls, drawn: Drawn, log_u: Tensor, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor
    ) -> Scored:
        """Draws of the chains in turn, scored as far as their rejection from ``state`` needs."""
        chain = torch.arange(len(log_u), device=log_u.device).remainder(len(memory))
        every = ChainState(state.x[chain], state.energy[chain], {}, state.terms[chain])
        proposed = check_proposed(Proposed(drawn.x, drawn.log_q, memory[chain], hint=drawn.hint), every.x)
        limit = None
        if has_work_to_spare(energy):
            shared = beta[chain] if isinstance(beta, Tensor) and beta.dim() else beta
            limit = energy_limit(every.energy, proposed, log_u, shared)
        with row_numbers(chain):
            return cls(drawn, log_u, score_proposed(every, energy, proposed, limit), limit)

    def take(self, rows: Tensor) -> Scored:
        known = Evaluation(self.known.energy[rows], self.known.terms[rows])
        return Scored(
            _rows(self.drawn, rows), self.log_u[rows], known, None if self.limit is None else self.limit[rows]
        )

    def known_from(self, state: ChainState, memory: Tensor, energy: Energy, beta: float | Tensor) -> Evaluation:
        """Of a draw for each chain, as far as it matters to ``state``: of those cut short too early the rest."""
        if self.limit is None:
            return self.known
        proposed = Proposed(self.drawn.x, self.drawn.log_q, memory)
        limit = energy_limit(state.energy, proposed, self.log_u, beta)
        rows = ((self.known.energy == math.inf) & (limit > self.limit)).nonzero().squeeze(1)
        if not len(rows):
            return self.known
        some = _rows(self.drawn, rows)
        found = evaluate(energy, some.x, some.hint, limit[rows], rows=rows)
        return Evaluation(
            self.known.energy.index_copy(0, rows, found.energy), self.known.terms.index_copy(0, rows, found.terms)
        )


def _rows(drawn: Drawn, rows: Tensor) -> Drawn:
    return Drawn(drawn.x[rows], drawn.log_q[rows], None if drawn.hint is None else drawn.hint[rows])
