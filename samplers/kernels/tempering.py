"""Replica exchange (parallel tempering) over any kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.row_numbers import row_numbers
from samplers.errors import InvalidInput
from samplers.kernels.hooks import Space, batch_matrices, branches, step_cost
from samplers.kernels.metropolis import log_acceptance
from samplers.kernels.replicas import counters, swap_matrix, swap_neighbours
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["Tempered"]


class Tempered(Configurable):
    """Run a replica of each chain at every ``beta`` of a ladder, and propose to swap neighbouring replicas.

    Target
        ``prod_r pi^(b_r)(x_r)`` over the rungs; rung 0, which is the state's ``x``, follows the kernel's own target.
    Acceptance ratio
        of a swap of rungs ``r`` and ``s``: ``min(1, exp((b_r - b_s) (E(x_r) - E(x_s))))``.
    Reversible
        no: even and odd pairs of neighbours are tried in turn; each of the two is reversible if the inner kernel is.
    Proof
        Geyer 1991, Computing Science and Statistics 23: a swap is a Metropolis step on the product law.
        Okabe et al. 2001, Chem. Phys. Lett. 335, for the even-odd order.
    Cost
        the inner kernel's, on ``chains * rungs`` rows in one batch; a swap costs no model call.

    ``betas`` starts at 1 and falls; ``swap_every`` steps of the inner kernel lie between swaps. With one rung this is
    the inner kernel, bit for bit.
    """

    reversible = False

    def __init__(self, kernel: Kernel, betas: Sequence[float], *, swap_every: int = 1) -> None:
        betas = [float(b) for b in betas]
        if not betas or betas[0] != 1.0:
            raise InvalidInput(f"the ladder is {betas}; its first beta must be 1, the target itself")
        if any(not math.isfinite(b) or b < 0 for b in betas) or any(a <= b for a, b in pairwise(betas)):
            raise InvalidInput(f"the ladder is {betas}; give finite betas that fall and are not negative")
        if swap_every < 1:
            raise InvalidInput(f"swap_every is {swap_every}; give at least 1")
        self.kernel, self.betas, self.swap_every = kernel, tuple(betas), swap_every
        self.move_names = kernel.move_names

    @property
    def no_accept_step(self) -> bool:
        """That of the inner kernel."""
        return bool(getattr(self.kernel, "no_accept_step", False))

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        rungs, chains = len(self.betas), len(x)
        with row_numbers(lambda row: row % chains):
            inner = self.kernel.init(x.repeat(rungs, *[1] * (x.dim() - 1)), energy)
        aux: dict[str, Any] = {
            # Rung 0 is the state itself; the hotter ones follow, rung by rung.
            "x": inner.x[chains:],
            "energy": inner.energy[chains:],
            "terms": inner.terms[chains:],
            "inner": inner.aux,
            **counters(rungs, x),
        }
        return ChainState(inner.x[:chains], inner.energy[:chains], aux, inner.terms[:chains])

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        rungs, chains = len(self.betas), len(state.x)
        aux = dict(state.aux)
        outer = torch.as_tensor(beta, dtype=torch.float64, device=state.x.device).expand(chains)
        betas = torch.tensor(self.betas, dtype=torch.float64, device=state.x.device).unsqueeze(1)
        ladder = torch.where(betas == 0, 0.0, betas * outer)  # 0 times infinity: the rung stays at 0
        merged = ChainState(
            torch.cat([state.x, aux["x"]]),
            torch.cat([state.energy, aux["energy"]]),
            aux["inner"],
            torch.cat([state.terms, aux["terms"]]),
        )
        with row_numbers(lambda row: row % chains):
            merged, info = self.kernel.step(merged, energy, rng, beta=ladder.reshape(-1))
        replicas = [part.reshape(rungs, chains, *part.shape[1:]) for part in (merged.x, merged.energy, merged.terms)]
        turn = int(aux["turn"])
        if rungs > 1 and (turn + 1) % self.swap_every == 0:
            replicas = self._swap(replicas, ladder, (turn // self.swap_every) % 2, aux, rng)
        x, value, terms = replicas
        aux.update(
            x=x[1:].flatten(0, 1),
            energy=value[1:].flatten(),
            terms=terms[1:].flatten(0, 1),
            inner=merged.aux,
            turn=aux["turn"] + 1,
        )
        changed = (x[0] != state.x).reshape(chains, -1).any(dim=1)
        return ChainState(x[0], value[0], aux, terms[0]), StepInfo(info.accepted[:chains], changed, info.move[:chains])

    @property
    def branches(self) -> list[Kernel]:
        """Those of the inner kernel, tempered."""
        return [Tempered(inner, self.betas, swap_every=self.swap_every) for inner in branches(self.kernel)]

    def cost(self, x: Tensor) -> tuple[int, int]:
        return step_cost(self.kernel, x.repeat(len(self.betas), *[1] * (x.dim() - 1)))

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [turns, from, to]`` on tuples of states, one a rung, the last one fastest (see ``hooks``)."""
        betas = [beta * b for b in self.betas]
        inner = batch_matrices(self.kernel, space, betas)
        turns = len(inner) if len(betas) == 1 else math.lcm(2 * self.swap_every, len(inner))
        return torch.stack([self._swapped(inner[turn % len(inner)], space, betas, turn) for turn in range(turns)])

    def _swapped(self, matrix: Tensor, space: Space, betas: list[float], turn: int) -> Tensor:
        if (turn + 1) % self.swap_every == 0:
            for low in range((turn // self.swap_every) % 2, len(betas) - 1, 2):
                matrix = matrix @ _swap_matrix(space, betas, low)
        return matrix

    def _swap(
        self, replicas: list[Tensor], ladder: Tensor, first: int, aux: dict[str, Any], rng: torch.Generator
    ) -> list[Tensor]:
        """Those from the pair ``(first, first+1)`` on."""

        def log_ratio(low: int, replicas: Sequence[Tensor]) -> Tensor:
            value = replicas[1]
            zero = torch.zeros_like(value[low])
            # Betas fall strictly: two rungs at infinity differ by infinity, so a swap must not raise the colder energy.
            gap = (ladder[low] - ladder[low + 1]).nan_to_num(nan=math.inf, posinf=math.inf)
            return log_acceptance(value[low], value[low + 1], zero, zero, gap)

        return swap_neighbours(replicas, first, log_ratio, aux, rng)


def _swap_matrix(space: Space, betas: list[float], low: int) -> Tensor:
    """Of the swap of rungs ``low`` and ``low + 1``."""
    energy = space.energy(space.states)
    colder, hotter = energy.unsqueeze(1).expand(-1, len(energy)), energy.expand(len(energy), -1)
    zero = torch.zeros_like(hotter)
    return swap_matrix(log_acceptance(colder, hotter, zero, zero, betas[low] - betas[low + 1]), len(betas), low)
