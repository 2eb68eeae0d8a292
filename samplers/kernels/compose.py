"""Kernels made of other kernels: in turn, or one drawn at random."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.evaluation import Evaluated
from samplers.energy.terms import Evaluation
from samplers.errors import InvalidInput
from samplers.kernels.hooks import Space, batch_matrices, is_reversible, step_cost
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["Cycle", "Mixture"]


class _Composition(Configurable, ABC):
    """What ``Cycle`` and ``Mixture`` share: every part has its own ``aux``."""

    def __init__(self, parts: Sequence[Kernel]) -> None:
        if not parts:
            raise InvalidInput(f"{type(self).__name__} needs at least one kernel")
        self.parts = tuple(parts)
        self.move_names = tuple(dict.fromkeys(name for part in parts for name in part.move_names))

    @property
    def no_accept_step(self) -> bool:
        """Whether one of the parts has none."""
        return any(getattr(part, "no_accept_step", False) for part in self.parts)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        first = self.parts[0].init(x, energy)
        known = Evaluated(energy, x, Evaluation(first.energy, first.terms))
        states = [first, *(part.init(x, known) for part in self.parts[1:])]
        aux: dict[str, Any] = {f"part{index}": state.aux for index, state in enumerate(states)}
        return states[0]._replace(aux=aux)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [turns, from, to]``: the exact probabilities of each step (see ``hooks``)."""
        return self.batch_matrices(space, [beta])

    @abstractmethod
    def batch_matrices(self, space: Space, betas: Sequence[float]) -> Tensor: ...

    def cost(self, x: Tensor) -> tuple[int, int]:
        calls, rows = zip(*(step_cost(part, x) for part in self.parts), strict=True)
        return max(calls), max(rows)

    def _matrices(self, space: Space, betas: Sequence[float]) -> list[Tensor]:
        """``[turns, from, to]`` of each part, all on the space of the part that has most coordinates."""
        matrices = [batch_matrices(part, space, betas) for part in self.parts]
        size = max(matrix.shape[1] for matrix in matrices)
        return [torch.kron(matrix, torch.eye(size // matrix.shape[1], dtype=matrix.dtype)) for matrix in matrices]

    def _run(
        self, index: int, state: ChainState, energy: Energy, rng: torch.Generator, beta: float | Tensor
    ) -> tuple[ChainState, StepInfo]:
        part = self.parts[index]
        after, info = part.step(state._replace(aux=state.aux[f"part{index}"]), energy, rng, beta=beta)
        aux = {**state.aux, f"part{index}": after.aux}
        return after._replace(aux=aux), info._replace(move=self._renumbered(part, info.move))

    def _renumbered(self, part: Kernel, move: Tensor) -> Tensor:
        """The moves of a part by their numbers in ``move_names``."""
        numbers = [self.move_names.index(name) for name in part.move_names]
        first = numbers[0]
        if numbers == list(range(first, first + len(numbers))):
            return move + first if first else move
        return torch.tensor(numbers, device=move.device)[move]


class Cycle(_Composition):
    """Step ``t`` is a step of part ``t mod parts``.

    Target
        that of its parts, which must have the same one.
    Acceptance ratio
        that of each part.
    Reversible
        no, even if the parts are: the reversed order is another kernel.
    Proof
        Tierney 1994, Annals of Statistics 22, section 2.4: ``pi P1 P2 = pi P2 = pi``.
    Cost
        one part's step a step.
    """

    reversible = False

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state = super().init(x, energy)
        return state._replace(aux={**state.aux, "turn": torch.zeros((), dtype=torch.int64)})

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        turn = state.aux["turn"]
        after, info = self._run(int(turn) % len(self.parts), state, energy, rng, beta)
        return after._replace(aux={**after.aux, "turn": turn + 1}), info

    def batch_matrices(self, space: Space, betas: Sequence[float]) -> Tensor:
        """Of the parts in turn, until all of them repeat."""
        parts = self._matrices(space, betas)
        rounds = range(math.lcm(*(len(part) for part in parts)))
        return torch.stack([part[turn % len(part)] for turn in rounds for part in parts])


class Mixture(_Composition):
    """Each step is a step of one part, drawn with its weight; the same part for all chains of a batch.

    Target
        that of its parts, which must have the same one.
    Acceptance ratio
        that of each part; the weights are constants and cancel.
    Reversible
        if every part is.
    Proof
        Tierney 1994, Annals of Statistics 22, section 2.4: ``pi (w1 P1 + w2 P2) = (w1 + w2) pi``. Chains share the draw
        of the part, so that a step is one model call, and are independent given it; each is stationary under every
        sequence of parts, so they are uncorrelated in equilibrium.
    Cost
        one part's step a step.
    """

    def __init__(self, weighted: Sequence[tuple[Kernel, float]]) -> None:
        super().__init__([kernel for kernel, _ in weighted])
        weights = [float(weight) for _, weight in weighted]
        if any(not math.isfinite(w) or w <= 0 for w in weights):
            raise InvalidInput(f"the weights of a Mixture are {weights}; give positive finite numbers")
        if abs(sum(weights) - 1) > 1e-9:
            raise InvalidInput(f"the weights of a Mixture add up to {sum(weights):.6g}; make them add up to 1")
        self.weights = weights

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        u = float(torch.rand(1, dtype=torch.float64, device=rng.device, generator=rng))
        return self._run(bisect_right(self._cumulative, u * self._cumulative[-1]), state, energy, rng, beta)

    @cached_property
    def _cumulative(self) -> list[float]:
        """Running sums of the weights, in which a quantile below 1 finds its part."""
        weights = torch.tensor(self.weights, dtype=torch.float64).log().softmax(dim=0)
        sums: list[float] = weights.cumsum(dim=0).tolist()
        return sums

    @property
    def reversible(self) -> bool:
        """Whether every part is."""
        return all(map(is_reversible, self.parts))

    @property
    def branches(self) -> tuple[Kernel, ...]:
        """All chains of a step share the draw of the part."""
        return self.parts

    def batch_matrices(self, space: Space, betas: Sequence[float]) -> Tensor:
        """A part that takes turns does so at random times: the mean over its turns leaves the same law invariant."""
        means = [part.mean(dim=0, keepdim=True) for part in self._matrices(space, betas)]
        return torch.stack([w * mean for w, mean in zip(self.weights, means, strict=True)]).sum(dim=0)
