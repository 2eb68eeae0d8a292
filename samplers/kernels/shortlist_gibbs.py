"""Exact Gibbs sampling over a short list of values, where the whole vocabulary would be too much to score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.candidates import replaced
from samplers.energy.evaluation import evaluate_candidates
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.gibbs import redraw, redraw_matrix
from samplers.kernels.hooks import Space
from samplers.kernels.metropolis import start, step_info
from samplers.randomness import draw_site
from samplers.types import ChainState, Energy, StepInfo

__all__ = ["ShortlistGibbs"]


class ShortlistGibbs(Configurable):
    """Redraw one free site from the target restricted to a list of values that the other sites choose.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``.
    Acceptance ratio
        1 where the current value is on its list, as in Gibbs; elsewhere the chain keeps its state: a rejection.
    Reversible
        yes.
    Proof
        One of the ``f`` free sites is drawn, ``i``. Let ``C(x)`` be the values ``v`` on the list of ``x_-i`` that
        leave ``free(x)`` as it is when put at ``i``. A move to ``x'`` needs ``x_i`` and ``x'_i`` in ``C(x)``, and then
        ``C(x') = C(x)`` and ``f' = f``: ``pi(x) (1/f) pi(x') / sum over v in C(x) of pi(x with x_i = v)`` is symmetric.
        Published code adds ``x_i`` to the list. The list then depends on the value that it is to replace, some moves
        have no reverse, and the target is lost.
    Cost
        one list and one energy call of at most ``chains * K`` rows a step, cut into calls of at most ``max_rows``
        rows; chains whose value is not on their list cost none.

    Main arguments: ``shortlist(x, site) -> [chains, K]``, for each chain ``K`` different values for its ``site``
    (``int64 [chains]``), of the type of ``x``; they may depend on the other sites of ``x`` only. Other arguments:
    ``free(x) -> bool [chains, sites]`` says which sites may change (default: all); it may depend on anything, and a
    chain without a free site keeps its state. ``move_name`` names the move.

    A value that is on no list can be neither drawn nor replaced, so alone this kernel may not reach every state: use
    it in a ``Mixture`` with a kernel that does.

    Raises ``InvalidInput`` for unusable arguments, ``ProposalError`` for a list with the wrong shape or type or a
    repeated value.
    """

    def __init__(
        self,
        shortlist: Callable[[Tensor, Tensor], Tensor],
        *,
        free: Callable[[Tensor], Tensor] | None = None,
        max_rows: int = 4096,
        move_name: str = "shortlist",
    ) -> None:
        if max_rows < 1:
            raise InvalidInput(f"max_rows is {max_rows}; give at least 1")
        self.shortlist, self.free, self.max_rows = shortlist, free, max_rows
        self.move_names: tuple[str, ...] = (move_name,)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        if x.dim() != 2:
            raise InvalidInput(f"ShortlistGibbs needs states [chains, sites], not {list(x.shape)}")
        return start(x, energy)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        drawable = self.free_sites(state.x)
        # A chain without a free site draws any site: candidates() allows no value there.
        drawable[:, 0] |= ~drawable.any(dim=1)
        site = draw_site(drawable, rng)
        values, possible = self.candidates(state.x, site)
        scored = evaluate_candidates(energy, state.x, site, values, self.max_rows, possible)
        after, drawn = redraw(state, site, values, scored, beta, rng)
        return after, step_info(state.x, after.x, drawn)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step (see ``hooks``)."""
        states, free = space.states, self.free_sites(space.states)
        chosen = free.double() / free.sum(dim=1, keepdim=True).clamp(min=1)

        def candidates(site: int) -> tuple[Tensor, Tensor]:
            return self.candidates(states, torch.full((len(states),), site))

        return redraw_matrix(space, chosen, candidates, beta) + torch.diag((~free.any(dim=1)).double())

    def cost(self, x: Tensor) -> tuple[int, int]:
        """A row for each value on the list of each chain."""
        rows = self.shortlist(x.clone(), torch.zeros_like(x[:, 0])).numel()
        return math.ceil(rows / self.max_rows), rows

    def free_sites(self, x: Tensor) -> Tensor:
        """``bool [chains, sites]``: sites that may change."""
        return torch.ones_like(x, dtype=torch.bool) if self.free is None else self.free(x.clone()).clone()

    def candidates(self, x: Tensor, site: Tensor) -> tuple[Tensor, Tensor]:
        """The list ``[chains, K]`` for ``site [chains]``, and ``bool [chains, K]``: which may be drawn."""
        values = self._checked(self.shortlist(x.clone(), site), x)
        old = x.gather(1, site.unsqueeze(1))
        possible = (values == old).any(dim=1, keepdim=True).expand_as(values)
        if self.free is None:
            return values, possible
        free = self.free(x.clone())
        after = self.free(replaced(x, site, values)).reshape(*values.shape, -1)
        return values, possible & free.gather(1, site.unsqueeze(1)) & (after == free.unsqueeze(1)).all(dim=2)

    def _checked(self, values: Tensor, x: Tensor) -> Tensor:
        if values.dim() != 2 or len(values) != len(x) or values.shape[1] == 0 or values.dtype != x.dtype:
            raise ProposalError(f"the shortlist is {values.dtype} {list(values.shape)}, not {x.dtype} [{len(x)}, K]")
        ranked = values.sort(dim=1).values
        repeated = (ranked[:, 1:] == ranked[:, :-1]).any(dim=1)
        if bool(repeated.any()):
            chain = int(repeated.nonzero()[0])
            raise ProposalError(f"the shortlist of chain {chain} repeats a value: {values[chain].tolist()}")
        return values
