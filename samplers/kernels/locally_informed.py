"""Moves to a neighbour chosen by the target itself: locally balanced proposals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from samplers.config import Configurable
from samplers.energy.evaluation import evaluate
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.hooks import Space
from samplers.kernels.metropolis import current_memory, log_acceptance, start, step_info
from samplers.randomness import categorical, log_uniform
from samplers.types import ChainState, Energy, StepInfo, differs, select

__all__ = ["Balance", "LocallyInformed", "SingleSiteChanges", "check_balance", "log_balanced"]

Balance = Literal["sqrt", "barker"]
LEAVING = 600.0  # nats: the log-ratio of a move out of a forbidden state, where it would be infinite


class LocallyInformed(Configurable):
    """Score all neighbours, move to one with a weight that balances its energy, and correct for the sums of weights.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``.
    Acceptance ratio
        ``min(1, Z(x) / Z(x'))``, where ``Z(x)`` is the sum of ``g(pi(y) / pi(x))`` over the neighbours ``y`` of ``x``;
        0 where ``x`` is no neighbour of ``x'``.
    Reversible
        yes.
    Proof
        Zanella 2020, Journal of the American Statistical Association 115, section 2: ``x'`` is drawn with probability
        ``g(t) / Z(x)`` for ``t = pi(x') / pi(x)``, and ``g(t) = t g(1/t)``, so that all but the sums of the Hastings
        ratio cancels. A neighbour that is listed ``m`` times there and ``n`` times here gives a factor ``m / n``.
    Cost
        one energy call with a row for each neighbour of the chosen state, cut into calls of at most ``max_rows`` rows.
        Those of the current state are kept, and scored anew only for states that another kernel has changed.

    Main arguments: ``neighbours(x) -> [chains, K, ...]``, states of the type of ``x``; those equal to their own row of
    ``x`` do not count, so that rows may have fewer than ``K``. ``SingleSiteChanges`` is one. ``balance`` is ``g``:
    ``"sqrt"``, or ``"barker"`` for ``t / (1 + t)``, which is bounded: far better neighbours are then all alike.

    It pays where most neighbours are bad and the good ones are worth looking for, as ``K`` energies are paid for each
    move: with a gradient ``GradientProposal`` finds them for the price of a few.

    Raises ``InvalidInput`` for unusable arguments, ``ProposalError`` for neighbours of a wrong shape or type.
    """

    move_names: tuple[str, ...] = ("locally informed",)

    def __init__(
        self, neighbours: Callable[[Tensor], Tensor], *, balance: Balance = "sqrt", max_rows: int = 4096
    ) -> None:
        if max_rows < 1:
            raise InvalidInput(f"max_rows is {max_rows}; give at least 1")
        self.neighbours, self.balance, self.max_rows = neighbours, check_balance(balance), max_rows

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return start(x, energy)._replace(aux={"of": x.clone(), "memory": self._scores(energy, x)})

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        x, score = state.x, partial(self._scores, energy)
        rows = torch.arange(len(x), device=x.device)
        around, known = self._listed(x), current_memory(score, x, **state.aux)
        weights = self._log_weights(state.energy, known[..., 0], beta)
        stuck = (weights == -math.inf).all(dim=1)
        choice = categorical(weights.masked_fill(stuck.unsqueeze(1), 0.0), rng)
        log_u = log_uniform(len(x), rng)
        new, found = select(stuck, x, around[rows, choice]), known[rows, choice]
        value, terms = select(stuck, state.energy, found[:, 0]), select(stuck, state.terms, found[:, 1:])
        back = current_memory(score, new, x, known)  # only of chains that may move
        back_weights = self._log_weights(value, back[..., 0], beta)
        log_ratio = self._log_ratio(weights, back_weights) + _count(self._listed(new), x) - _count(around, new)
        log_ratio = torch.where((state.energy == math.inf) & (log_ratio > -math.inf), math.inf, log_ratio)
        accepted = ~stuck & (log_u < log_ratio)
        after = ChainState(
            select(accepted, new, x),
            select(accepted, value, state.energy),
            {"of": select(accepted, new, x), "memory": select(accepted, back, known)},
            select(accepted, terms, state.terms),
        )
        return after, step_info(x, after.x, accepted)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step (see ``hooks``)."""
        states, around = space.states, self._listed(space.states)
        to = space.index(around.flatten(0, 1)).reshape(around.shape[:2])
        count = torch.zeros(len(states), len(states), dtype=torch.float64)
        count.scatter_add_(1, to, torch.ones_like(to, dtype=torch.float64)).fill_diagonal_(0.0)
        energy = space.energy(states)
        weights = count * self._log_weights(energy, energy.expand(len(states), -1), beta).exp()
        total = weights.sum(dim=1, keepdim=True)
        stuck = total == 0
        q = weights / total.masked_fill(stuck, 1.0)
        accept = (total / total.T * (count.T / count)).clamp(max=1).nan_to_num(nan=0.0)
        accept = torch.where((energy == math.inf).unsqueeze(1) & (count.T > 0), 1.0, accept)
        rejected = (q * (1 - accept)).sum(dim=1) + stuck.squeeze(1).double()
        return q * accept + torch.diag(rejected)

    def cost(self, x: Tensor) -> tuple[int, int]:
        """Of two neighbourhoods: one is enough for chains that no other kernel has moved."""
        rows = len(x) * self.neighbours(x.clone()).shape[1]
        return 2 * math.ceil(rows / self.max_rows), 2 * rows

    def _log_ratio(self, weights: Tensor, back: Tensor) -> Tensor:
        """``log Z(x) - log Z(x')`` from log-weights ``[chains, K]`` of the neighbours of both."""
        return weights.logsumexp(dim=1) - back.logsumexp(dim=1)

    def _log_weights(self, energy: Tensor, around: Tensor, beta: float | Tensor) -> Tensor:
        """``log g`` of the neighbours, whose energies are ``around [chains, K]``; ``-inf`` where one is none."""
        beta = beta.unsqueeze(1) if isinstance(beta, Tensor) and beta.dim() else beta
        no_q = torch.zeros_like(around)
        return log_balanced(
            self.balance, log_acceptance(energy.unsqueeze(1).expand_as(around), around, no_q, no_q, beta)
        )

    def _listed(self, x: Tensor) -> Tensor:
        around = self.neighbours(x.clone())
        if around.dtype != x.dtype or around.dim() != x.dim() + 1 or around[:, :1].squeeze(1).shape != x.shape:
            raise ProposalError(
                f"neighbours are {around.dtype} {list(around.shape)} of states {x.dtype} {list(x.shape)}"
            )
        return around

    def _scores(self, energy: Energy, x: Tensor) -> Tensor:
        """``float64 [chains, K, 1 + terms]``: energies of the neighbours, and their terms; ``+inf`` if not one."""
        around = self._listed(x)
        count = around.shape[1]
        flat, chain = around.flatten(0, 1), torch.arange(len(x), device=x.device).repeat_interleave(count)
        real = differs(flat, x.repeat_interleave(count, dim=0)).nonzero().squeeze(1)
        parts = [evaluate(energy, flat[part], rows=chain[part]) for part in real.split(self.max_rows)]
        known = torch.cat([torch.cat([part.energy.unsqueeze(1), part.terms], dim=1) for part in parts])
        scores = torch.full((len(flat), known.shape[1]), math.inf, dtype=torch.float64, device=x.device)
        scores[real] = known
        return scores.reshape(len(x), count, -1)


class SingleSiteChanges(Configurable):
    """Neighbours that differ at one free site: ``[chains, sites * V, sites]`` of states of the values ``0 .. V-1``.

    ``free(x) -> bool [chains, sites]`` says which sites may change (default: all).
    """

    def __init__(self, values: int, *, free: Callable[[Tensor], Tensor] | None = None) -> None:
        if values < 2:
            raise InvalidInput(f"values is {values}; give at least 2")
        self.values, self.free = values, free

    def __call__(self, x: Tensor) -> Tensor:
        chains, sites = x.shape
        new = x.reshape(chains, 1, 1, sites).repeat(1, sites, self.values, 1)
        site = torch.arange(sites, device=x.device)
        new[:, site, :, site] = torch.arange(self.values, device=x.device).to(x)
        if self.free is not None:
            new = torch.where(self.free(x.clone()).reshape(chains, sites, 1, 1), new, x.reshape(chains, 1, 1, sites))
        return new.flatten(1, 2)


def check_balance(balance: Balance) -> Balance:
    """``balance``. Raises ``InvalidInput`` for none that is known."""
    if balance not in ("sqrt", "barker"):
        raise InvalidInput(f"balance is {balance!r}; choose 'sqrt' or 'barker'")
    return balance


def log_balanced(balance: Balance, log_ratio: Tensor) -> Tensor:
    """``log g(t)`` at ``log t``, for a ``g`` with ``g(t) = t g(1/t)``."""
    bounded = log_ratio.clamp(min=-math.inf).nan_to_num(nan=-math.inf, posinf=LEAVING, neginf=-math.inf)
    return 0.5 * bounded if balance == "sqrt" else logsigmoid(bounded)


def _count(around: Tensor, x: Tensor) -> Tensor:
    """Log of how often ``x`` is among ``around [chains, K, ...]``, ``float64 [chains]``; ``-inf`` for never."""
    return (around == x.unsqueeze(1)).flatten(2).all(dim=2).sum(dim=1).double().log()
