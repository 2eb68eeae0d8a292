"""Metropolis-Hastings over any proposal."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.evaluation import evaluate
from samplers.energy.terms import Evaluation, WeightedSum
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.hooks import Space, proposal_matrix
from samplers.randomness import log_uniform
from samplers.types import ChainState, Energy, Proposal, Proposed, StepInfo, differs, select

__all__ = [
    "MetropolisHastings",
    "check_proposed",
    "check_states",
    "current_memory",
    "energy_limit",
    "has_work_to_spare",
    "log_acceptance",
    "score_proposed",
    "start",
    "step_info",
]

SLACK = 1e-9  # relative to an energy: far above float64 rounding, far below any effect on acceptance


class MetropolisHastings(Configurable):
    """Propose from ``q``; accept, or keep the old state, which then counts again.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``.
    Acceptance ratio
        ``min(1, exp(beta (E(x) - E(x'))) q(x | x') / q(x' | x))``.
    Reversible
        yes.
    Proof
        Hastings 1970, Biometrika 57, section 2.2: ``pi(x) q(x'|x) a(x,x') = min(pi(x) q(x'|x), pi(x') q(x|x'))`` is
        symmetric in ``x`` and ``x'``.
    Cost
        one proposal and one energy call a step. Only proposed states that differ from the old state and have a reverse
        move are scored; the energy of the old state is cached. The uniform is drawn before scoring, so that terms of a
        weighted sum that cannot prevent a rejection are skipped (see ``evaluate``), and a term that adds up parts
        stops where these suffice for one. A proposal's memory is cached too,
        and recomputed for states that another kernel has changed.
    """

    transient = ("_memory",)

    def __init__(self, proposal: Proposal) -> None:
        if not callable(proposal) or not hasattr(proposal, "log_prob"):
            raise InvalidInput(
                f"a proposal needs __call__(x, rng) and log_prob(x_to, x_from); {proposal!r} does not have both"
            )
        self.proposal = proposal
        self.move_names: tuple[str, ...] = getattr(proposal, "move_names", (type(proposal).__name__,))
        self._memory: Callable[[Tensor], Tensor] | None = getattr(proposal, "memory", None)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state = start(x, energy)
        return state if self._memory is None else state._replace(aux={"of": x.clone(), "memory": self._memory(x)})

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        memory = [] if self._memory is None else [current_memory(self._memory, state.x, **state.aux)]
        # A copy: a proposal that writes into its argument must not change the state of the chain.
        proposed = check_proposed(self.proposal(state.x.clone(), rng, *memory), state.x, *memory)
        log_u = log_uniform(len(state.x), rng)
        limit = energy_limit(state.energy, proposed, log_u, beta) if has_work_to_spare(energy) else None
        new = score_proposed(state, energy, proposed, limit)
        log_ratio = log_acceptance(state.energy, new.energy, proposed.log_q_forward, proposed.log_q_reverse, beta)
        accepted = log_u < log_ratio
        x, aux = select(accepted, proposed.x, state.x), state.aux
        if memory and proposed.memory is not None:
            aux = {"of": x.clone(), "memory": select(accepted, proposed.memory, *memory)}
        value, terms = select(accepted, new.energy, state.energy), select(accepted, new.terms, state.terms)
        after = ChainState(x, value, aux, terms)
        return after, step_info(state.x, x, accepted, proposed.move)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step (see ``hooks``)."""
        log_q = proposal_matrix(self.proposal, space.states)
        energy = space.energy(space.states).expand_as(log_q)
        q, accept = log_q.exp(), log_acceptance(energy.T, energy, log_q, log_q.T, beta).clamp(max=0).exp()
        # Rejected mass by itself, not 1 - sum: a density that does not add up to 1 then shows in the row sums.
        return q * accept + torch.diag((q * (1 - accept)).sum(dim=1))

    def cost(self, x: Tensor) -> tuple[int, int]:
        """One call; chains that cannot move cost no row."""
        return 1, len(x)


def current_memory(compute: Callable[[Tensor], Tensor], x: Tensor, of: Tensor, memory: Tensor) -> Tensor:
    """``memory [chains, ...]`` of the states ``x``, recomputed where they are not those it was computed ``of``."""
    changed = differs(x, of)
    if not bool(changed.any()):
        return memory
    memory = memory.clone()
    memory[changed] = compute(x[changed])
    return memory


def has_work_to_spare(energy: Energy) -> bool:
    """Whether a limit can save a term, or part of one."""
    parts = energy.parts if isinstance(energy, WeightedSum) else [(1.0, energy)]
    terms = [part for _, part in parts if not getattr(part, "is_constraint", False)]
    return len(terms) > 1 or any(getattr(part, "stops_early", False) for part in terms)


def energy_limit(energy: Tensor, proposed: Proposed, log_u: Tensor, beta: float | Tensor) -> Tensor:
    """``float64 [chains]``: a proposed state with a higher energy is rejected, also after rounding."""
    beta = torch.as_tensor(beta, dtype=torch.float64, device=energy.device)
    limit = energy + (proposed.log_q_reverse - proposed.log_q_forward - log_u) / beta
    return (limit + SLACK * (1 + limit.abs())).nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)


def score_proposed(state: ChainState, energy: Energy, proposed: Proposed, limit: Tensor | None) -> Evaluation:
    """Energy and terms of the proposed states; of the old ones where the state is the same or has no reverse move."""
    moved = differs(proposed.x, state.x) & (proposed.log_q_reverse != -math.inf)
    if bool(moved.all()):
        return evaluate(energy, proposed.x, proposed.hint, limit)
    value, terms = state.energy.clone(), state.terms.clone()
    rows = moved.nonzero().squeeze(1)
    if len(rows):
        hint = None if proposed.hint is None else proposed.hint[rows]
        some = None if limit is None else limit[rows]
        value[rows], terms[rows] = evaluate(energy, proposed.x[rows], hint, some, rows=rows)
    return Evaluation(value, terms)


def log_acceptance(
    energy_old: Tensor, energy_new: Tensor, log_q_forward: Tensor, log_q_reverse: Tensor, beta: float | Tensor = 1.0
) -> Tensor:
    """Log of the Hastings ratio, ``float64 [chains]``; it may exceed 0.

    A forbidden new state or an impossible reverse move gives ``-inf`` at every ``beta``, including 0 and infinity;
    leaving a forbidden state gives ``+inf``. At ``beta = inf`` only the sign of the energy difference counts (hill
    climbing).
    """
    drop = energy_old - energy_new
    if not isinstance(beta, Tensor) and 0 < beta < math.inf:
        # Infinite energies and densities add up to what they should, but for the impossible that is NaN.
        tempered = drop if beta == 1 else beta * drop
        return (tempered + (log_q_reverse - log_q_forward)).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    beta = torch.as_tensor(beta, dtype=torch.float64, device=drop.device)
    tempered = torch.where((drop == 0) | ((beta == 0) & drop.isfinite()), 0.0, beta * drop)
    log_ratio = tempered + (log_q_reverse - log_q_forward)
    log_ratio = torch.where(energy_old == math.inf, math.inf, log_ratio)
    impossible = (energy_new == math.inf) | (log_q_reverse == -math.inf)
    return torch.where(impossible, -math.inf, log_ratio)


def start(x: Tensor, energy: Energy) -> ChainState:
    """The first state of a kernel that keeps nothing in ``aux``."""
    value, terms = evaluate(energy, x)
    return ChainState(x.clone(), value, {}, terms)


def step_info(old: Tensor, new: Tensor, accepted: Tensor, move: Tensor | None = None) -> StepInfo:
    """The ``StepInfo`` of a step from the states ``old`` to the states ``new``; ``move`` is 0 by default."""
    return StepInfo(
        accepted, differs(new, old), torch.zeros_like(accepted, dtype=torch.int64) if move is None else move
    )


def check_states(proposed: Tensor, x: Tensor) -> Tensor:
    """``proposed``. Raises ``ProposalError`` unless it has the shape and type of the states ``x``."""
    if proposed.shape != x.shape or proposed.dtype != x.dtype:
        raise ProposalError(
            f"proposed states are {proposed.dtype} {list(proposed.shape)}, the chains {x.dtype} {list(x.shape)}"
        )
    return proposed


def check_proposed(proposed: Proposed, x: Tensor, memory: Tensor | None = None) -> Proposed:
    """``proposed``. Raises ``ProposalError`` for a wrong shape or type, NaN, or an impossible forward move.

    ``memory`` is the memory of ``x``, for a proposal that has one.
    """
    check_states(proposed.x, x)
    for name in ("log_q_forward", "log_q_reverse"):
        value = getattr(proposed, name)
        if value.shape != (len(x),) or value.dtype != torch.float64:
            raise ProposalError(f"{name} is {value.dtype} {list(value.shape)}, not float64 [{len(x)}]")
    if memory is not None and (_form(proposed.memory) != _form(memory)):
        raise ProposalError(
            f"the memory of the proposed states is {_form(proposed.memory)}, that of the chains {_form(memory)}"
        )
    good = proposed.log_q_forward.isfinite() & (proposed.log_q_reverse == proposed.log_q_reverse)
    if not bool(good.all()):
        bad = (~good).nonzero().squeeze(1).tolist()
        raise ProposalError(f"log_q_forward must be finite and log_q_reverse not NaN; chains {bad[:5]}")
    return proposed


def _form(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
