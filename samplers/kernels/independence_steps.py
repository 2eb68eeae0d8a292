"""Several steps by draws of one distribution, which are made together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.drawing import draw
from samplers.independence import IndependenceProposal
from samplers.kernels.hooks import Space
from samplers.kernels.metropolis import MetropolisHastings, step_info
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Distribution, Drawn, Energy, Proposed, StepInfo

__all__ = ["IndependenceSteps", "MadeBefore"]


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
        Tierney 1994, Annals of Statistics 22, section 2.3.3, for one step; the draws do not depend on the state, so
        that it makes no difference when they are made.
    Cost
        ``steps`` draws a chain in one batch, which models draw faster than few at a time, and ``steps`` energy calls
        of a row a chain at most: what a constraint forbids asks no model, and costs no more than its draw. Density of
        the state and uniforms as in ``MetropolisHastings`` with an ``IndependenceProposal``.

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
        before, accepted = state.x, torch.zeros(len(state.x), dtype=torch.bool, device=state.x.device)
        drawn = draw(self.proposal.distribution, len(before) * self.steps, rng)
        for rows in torch.arange(len(drawn.x), device=before.device).split(len(before)):
            some = Drawn(drawn.x[rows], drawn.log_q[rows], None if drawn.hint is None else drawn.hint[rows])
            state, info = self._one(some).step(state, energy, rng, beta=beta)
            accepted |= info.accepted
        return state, step_info(before, state.x, accepted)

    def _one(self, drawn: Drawn) -> MetropolisHastings:
        return MetropolisHastings(MadeBefore(self.proposal, drawn))

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step (see ``hooks``)."""
        once = MetropolisHastings(self.proposal).step_matrix(space, beta)
        matrix: Tensor = torch.linalg.matrix_power(once, self.steps)
        return matrix

    def cost(self, x: Tensor) -> tuple[int, int]:
        return self.steps, self.steps * len(x)


@dataclass(frozen=True)
class MadeBefore:
    """What an independence ``proposal`` has ``drawn`` before, a state for each chain."""

    proposal: IndependenceProposal
    drawn: Drawn

    def memory(self, x: Tensor) -> Tensor:
        return self.proposal.memory(x)

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        new, forward, hint = self.drawn
        return Proposed(new, forward, self.memory(x) if memory is None else memory, hint=hint, memory=forward)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return self.proposal.log_prob(x_to, x_from)
