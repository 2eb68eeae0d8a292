"""Exact transition matrices, ``float64 [from, to]``, from a proposal's density and the accept rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce, singledispatch

import torch
from torch import Tensor

from samplers.energy.candidates import replaced
from samplers.errors import InvalidInput
from samplers.kernels.compose import Cycle, Mixture
from samplers.kernels.gibbs import Gibbs, PseudoGibbs, tempered_weights
from samplers.kernels.metropolis import MetropolisHastings, log_acceptance
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.kernels.tempering import Tempered
from samplers.randomness import nth_site
from samplers.testing.spaces import ladder
from samplers.testing.targets import Enumerated, Target
from samplers.types import Kernel, Proposal

__all__ = ["period", "proposal_matrix", "step_matrix", "transition_matrix"]


def proposal_matrix(proposal: Proposal, states: Tensor, *, max_rows: int = 4096) -> Tensor:
    """``log q(to | from)``, ``[from, to]`` over ``states [states, sites]``; calls of at most ``max_rows`` pairs."""
    size = len(states)
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size)).reshape(-1, 2)
    parts = [proposal.log_prob(states[part[:, 1]], states[part[:, 0]]) for part in pairs.split(max_rows)]
    return torch.cat(parts).reshape(size, size)


def transition_matrix(kernel: Kernel, target: Target, beta: float = 1.0) -> Tensor:
    """Of ``period(kernel)`` steps from the start: one step, or a whole round of a kernel that takes turns.

    For ``Tempered`` on the joint space (see ``spaces``). Raises ``InvalidInput`` for a kernel without known matrix.
    """
    steps = period(kernel, target)
    return reduce(torch.matmul, [step_matrix(kernel, target, beta, turn) for turn in range(steps)])


@singledispatch
def step_matrix(kernel: Kernel, target: Target, beta: float, turn: int) -> Tensor:
    """Of the step that follows ``turn`` earlier ones."""
    raise InvalidInput(f"no exact matrix is known for {type(kernel).__name__}; register one with step_matrix.register")


@step_matrix.register
def _(kernel: MetropolisHastings, target: Target, beta: float, turn: int) -> Tensor:
    log_q = proposal_matrix(kernel.proposal, target.states)
    energy = target.energy(target.states).expand_as(log_q)
    q, accept = log_q.exp(), log_acceptance(energy.T, energy, log_q, log_q.T, beta).clamp(max=0).exp()
    # Rejected mass by itself, not 1 - sum: a density that does not add up to 1 then shows in the row sums.
    return q * accept + torch.diag((q * (1 - accept)).sum(dim=1))


@step_matrix.register
def _(kernel: PseudoGibbs, target: Target, beta: float, turn: int) -> Tensor:
    return proposal_matrix(kernel.proposal, target.states).exp()


@step_matrix.register
def _(kernel: Gibbs, target: Target, beta: float, turn: int) -> Tensor:
    states = target.states
    free = torch.ones_like(states, dtype=torch.bool) if kernel.free is None else kernel.free(states)
    if kernel.scan == "systematic":
        chosen = torch.nn.functional.one_hot(nth_site(free, turn), states.shape[1]).double()
    else:
        chosen = free.double() / free.sum(dim=1, keepdim=True)
    every = kernel.values.expand(len(states), -1)
    return _redraws(target, chosen, lambda site: (every, torch.ones_like(every, dtype=torch.bool)), beta)


@step_matrix.register
def _(kernel: ShortlistGibbs, target: Target, beta: float, turn: int) -> Tensor:
    states, free = target.states, kernel.free_sites(target.states)
    chosen = free.double() / free.sum(dim=1, keepdim=True).clamp(min=1)
    matrix = _redraws(target, chosen, lambda site: kernel.candidates(states, torch.full((len(states),), site)), beta)
    return matrix + torch.diag((~free.any(dim=1)).double())


def _redraws(target: Target, chosen: Tensor, candidates: Callable[[int], tuple[Tensor, Tensor]], beta: float) -> Tensor:
    """Site ``i`` is drawn with probability ``chosen[:, i]``, then one of its possible candidates by the target."""
    states, space = target.states, Enumerated(target.states, target.energy)
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    for site in range(states.shape[1]):
        values, possible = candidates(site)
        possible = possible & (chosen[:, site] > 0).unsqueeze(1)
        sites = torch.full((len(states),), site)
        # A candidate that cannot be drawn may be no state of the space: the old state stands in for it.
        new = torch.where(
            possible.flatten().unsqueeze(1),
            replaced(states, sites, values),
            states.repeat_interleave(values.shape[1], dim=0),
        )
        to = space.index(new).reshape(values.shape)
        law = tempered_weights(space.energies[to].masked_fill(~possible, math.inf), beta).softmax(dim=1)
        stuck = law.isnan().any(dim=1)
        matrix.scatter_add_(1, to, chosen[:, site].unsqueeze(1) * law.masked_fill(stuck.unsqueeze(1), 0.0))
        matrix += torch.diag(chosen[:, site] * stuck)
    return matrix


@step_matrix.register
def _(kernel: Cycle, target: Target, beta: float, turn: int) -> Tensor:
    part, rounds = kernel.parts[turn % len(kernel.parts)], turn // len(kernel.parts)
    return _lifted(step_matrix(part, target, beta, rounds), len(target.states) ** len(ladder(kernel)))


@step_matrix.register
def _(kernel: Mixture, target: Target, beta: float, turn: int) -> Tensor:
    """A part that takes turns does so at random times: the mean over its turns, which has the same invariant law."""
    size = len(target.states) ** len(ladder(kernel))
    parts = [_lifted(_mean_step(part, target, [beta]), size) for part in kernel.parts]
    return torch.stack([w * part for w, part in zip(kernel.weights, parts, strict=True)]).sum(dim=0)


@step_matrix.register
def _(kernel: Tempered, target: Target, beta: float, turn: int) -> Tensor:
    betas = [beta * b for b in ladder(kernel)]
    matrix = _side_by_side(kernel.kernel, target, betas, turn)
    if len(betas) > 1 and (turn + 1) % kernel.swap_every == 0:
        for low in range((turn // kernel.swap_every) % 2, len(betas) - 1, 2):
            matrix = matrix @ _swap_matrix(target, betas, low)
    return matrix


def _side_by_side(kernel: Kernel, target: Target, betas: list[float], turn: int) -> Tensor:
    """One step of every rung. The rungs are rows of one batch, so a Mixture draws the same part for all of them."""
    if isinstance(kernel, Mixture):
        means = [_mean_step(part, target, betas) for part in kernel.parts]
        return torch.stack([w * mean for w, mean in zip(kernel.weights, means, strict=True)]).sum(dim=0)
    if isinstance(kernel, Cycle):
        return _side_by_side(kernel.parts[turn % len(kernel.parts)], target, betas, turn // len(kernel.parts))
    return reduce(torch.kron, [step_matrix(kernel, target, b, turn) for b in betas])


def _mean_step(kernel: Kernel, target: Target, betas: list[float]) -> Tensor:
    steps = [_side_by_side(kernel, target, betas, turn) for turn in range(period(kernel, target))]
    return torch.stack(steps).mean(dim=0)


def _swap_matrix(target: Target, betas: list[float], low: int) -> Tensor:
    size, rungs = len(target.states), len(betas)
    points = torch.arange(size**rungs)
    place, next_place = size ** (rungs - 1 - low), size ** (rungs - 2 - low)
    i, j = points // place % size, points // next_place % size
    energy, zero = target.energy(target.states), torch.zeros(len(points), dtype=torch.float64)
    accept = log_acceptance(energy[i], energy[j], zero, zero, betas[low] - betas[low + 1]).clamp(max=0).exp()
    matrix = torch.diag(1 - accept)
    matrix.index_put_((points, points + (j - i) * (place - next_place)), accept, accumulate=True)
    return matrix


def _lifted(matrix: Tensor, size: int) -> Tensor:
    """A matrix that moves the state alone, on the joint space."""
    return torch.kron(matrix, torch.eye(size // len(matrix), dtype=torch.float64))


def period(kernel: Kernel, target: Target) -> int:
    """After how many steps the step matrices repeat."""
    if isinstance(kernel, Gibbs) and kernel.scan == "systematic":
        free = target.states.new_ones(target.states.shape) if kernel.free is None else kernel.free(target.states)
        return math.lcm(*free.sum(dim=1).unique().tolist())
    if isinstance(kernel, Cycle):
        return len(kernel.parts) * math.lcm(*(period(part, target) for part in kernel.parts))
    if isinstance(kernel, Tempered):
        swaps = 1 if len(kernel.betas) == 1 else 2 * kernel.swap_every
        return math.lcm(swaps, period(kernel.kernel, target))
    return 1
