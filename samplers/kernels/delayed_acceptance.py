"""Metropolis-Hastings in two stages: a cheap energy first, the full one only for what passes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.evaluation import evaluate
from samplers.energy.terms import term_names
from samplers.errors import EnergyError, InvalidInput
from samplers.kernels.hooks import OtherLaw, Space, branches, check_reversible, selected, step_matrices
from samplers.kernels.metropolis import (
    current_memory,
    energy_limit,
    has_work_to_spare,
    log_acceptance,
    score_proposed,
)
from samplers.randomness import log_uniform
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Energy, Kernel, Proposed, StepInfo, select

__all__ = ["DelayedAcceptance", "delayed_report"]


class DelayedAcceptance(Configurable):
    """Let ``kernel`` make ``steps`` on a cheap ``surrogate`` energy ``S``; accept their outcome by the energy ``E``.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``, whatever the surrogate.
    Acceptance ratio
        of what ``kernel`` has made of ``x``: ``min(1, exp(beta (E(x) - S(x) - E(x') + S(x'))))``.
    Reversible
        yes; ``kernel`` must be.
    Proof
        Christen & Fox 2005, Journal of Computational and Graphical Statistics 14, section 2, and for any reversible
        kernel Liu 2001, Monte Carlo Strategies in Scientific Computing, chapter 9: ``exp(-beta S(x)) K(x, x')`` is
        symmetric, for ``K`` repeated as well, so this is a proposal with the Hastings correction
        ``exp(beta (S(x') - S(x)))``.
    Cost
        ``steps`` of ``kernel`` on the surrogate, and one row of the energy for each chain that they moved. The uniform
        is drawn before, so that terms that cannot prevent a rejection are skipped (see ``MetropolisHastings``). The
        surrogate's energy of a state is kept, and computed anew only for states that another kernel has changed.

    It pays where the surrogate costs little and rejects what the energy would: a poor surrogate costs acceptance,
    never the law. The energy gets no hint from the kernel's proposal. ``delayed_report`` counts the evaluations saved.

    Raises ``InvalidInput`` for ``steps`` below 1, for a kernel without an accept step and for one that is not
    reversible, nor is a ``Mixture`` in several steps, whose choices the chains share; ``EnergyError``, with the state,
    where the surrogate is infinite and the energy is not: such a state could never be left or entered.
    """

    def __init__(self, surrogate: Energy, kernel: Kernel, *, steps: int = 1) -> None:
        check_counts(steps=steps)
        check_reversible(kernel)
        if steps > 1 and len(branches(kernel)) > 1:
            raise InvalidInput(
                f"steps is {steps}, and {type(kernel).__name__} makes one choice for all chains, so several "
                "steps are not reversible; give a Mixture of DelayedAcceptance kernels"
            )
        self.surrogate, self.kernel, self.steps = surrogate, kernel, steps
        self.move_names = kernel.move_names

    @property
    def branches(self) -> list[Kernel]:
        """The kernels that it may be in a step, where ``kernel`` makes one choice for all chains."""
        parts = branches(self.kernel)
        return [self] if len(parts) == 1 else [type(self)(self.surrogate, part) for part in parts]

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        known, inner = evaluate(energy, x), self.kernel.init(x, self.surrogate)
        self._check_finite(x, known.energy, inner.energy)
        aux: dict[str, Any] = {
            "kernel": inner.aux,
            "surrogate": {"of": x.clone(), "memory": torch.cat([inner.energy.unsqueeze(1), inner.terms], dim=1)},
            **{name: torch.zeros(len(x), dtype=torch.int64, device=x.device) for name in ("screened", "scored")},
        }
        return ChainState(x.clone(), known.energy, aux, known.terms)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        memory = self._current(state)
        cheap = memory[:, 0]
        self._check_finite(state.x, state.energy, cheap)
        moved, infos = ChainState(state.x, cheap, state.aux["kernel"], memory[:, 1:]), []
        for _ in range(self.steps):
            moved, info = self.kernel.step(moved, self.surrogate, rng, beta=beta)
            infos.append(info)
        changed = (moved.x != state.x).reshape(len(state.x), -1).any(dim=1)
        log_u = log_uniform(len(state.x), rng)
        no_q = torch.zeros_like(cheap)
        proposed = Proposed(moved.x, no_q, no_q)
        limit = energy_limit(state.energy - cheap + moved.energy, proposed, log_u, beta)
        new = score_proposed(state, energy, proposed, limit if has_work_to_spare(energy) else None)
        log_ratio = log_acceptance(
            self._beyond(state.energy, cheap), self._beyond(new.energy, moved.energy), no_q, no_q, beta
        )
        accepted = (log_u < log_ratio) | ~changed
        x = select(accepted, moved.x, state.x)
        found = torch.cat([moved.energy.unsqueeze(1), moved.terms], dim=1)
        aux = {
            "kernel": selected(accepted, moved.aux, state.aux["kernel"]),
            "surrogate": {"of": x.clone(), "memory": select(accepted, found, memory)},
            "screened": state.aux["screened"] + sum((~info.accepted).long() for info in infos),
            "scored": state.aux["scored"] + changed,
        }
        value, terms = select(accepted, new.energy, state.energy), select(accepted, new.terms, state.terms)
        taken = torch.stack([info.accepted for info in infos]).any(dim=0) & accepted
        return ChainState(x, value, aux, terms), StepInfo(taken, changed & accepted, infos[-1].move)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [turns, from, to]``: the exact probabilities of one step (see ``hooks``)."""
        energy, cheap = space.energy(space.states), evaluate(self.surrogate, space.states).energy
        beyond = self._beyond(energy, cheap)
        once = step_matrices(self.kernel, OtherLaw(space.states, self.surrogate, space.index), beta)
        moves: Tensor = torch.linalg.matrix_power(once, self.steps)
        pair, no_q = beyond.expand(len(beyond), -1), torch.zeros_like(beyond)
        accept = log_acceptance(pair.T, pair, no_q, no_q, beta).clamp(max=0).exp().fill_diagonal_(1.0)
        return moves * accept + torch.diag_embed((moves * (1 - accept)).sum(dim=2))

    def cost(self, x: Tensor) -> tuple[int, int]:
        """Of the energy itself: one call, with the chains that the kernel moved."""
        return 1, len(x)

    def _current(self, state: ChainState) -> Tensor:
        """The ``_surrogate_terms`` of the states, those that are kept where no other kernel has moved since."""
        memory: Tensor = current_memory(self._surrogate_terms, state.x, **state.aux["surrogate"])
        return memory

    def _surrogate_terms(self, x: Tensor) -> Tensor:
        """``float64 [chains, 1 + terms]``: the surrogate's energies and their terms."""
        known = evaluate(self.surrogate, x)
        return torch.cat([known.energy.unsqueeze(1), known.terms], dim=1)

    def _beyond(self, energy: Tensor, cheap: Tensor) -> Tensor:
        """``E - S``, ``float64 [chains]``: what the second stage decides by; ``+inf`` where the energy forbids."""
        return torch.where(energy == math.inf, math.inf, energy - cheap)

    def _check_finite(self, x: Tensor, energy: Tensor, cheap: Tensor) -> None:
        rows = ((cheap == math.inf) & (energy != math.inf)).nonzero().squeeze(1)
        if len(rows):
            raise EnergyError(
                "the surrogate is infinite where the energy is finite, so the chain could not leave this state",
                term=" + ".join(term_names(self.surrogate)),
                rows=rows.tolist(),
                x=x[rows],
                remedy="give a surrogate that is finite wherever the energy is",
            )


def delayed_report(state: ChainState) -> dict[str, int]:
    """Counts over all chains and steps of a ``DelayedAcceptance`` run whose last state is ``state``.

    ``screened``: moves that the surrogate rejected, so that the energy was not asked; ``scored``: rows that it scored.
    """
    return {name: int(state.aux[name].sum()) for name in ("screened", "scored")}
