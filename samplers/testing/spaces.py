"""The hidden coordinates of a kernel: what a test must draw exactly, beside the states, for an exact start.

Only ``Tempered`` has any: the replicas at the hotter rungs. A point of the *joint space* of ``rungs`` rungs over ``S``
states has the number ``i_0 S^(rungs-1) + ... + i_(rungs-1)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from samplers.energy.terms import evaluate
from samplers.errors import InvalidInput
from samplers.kernels.compose import Cycle, Mixture
from samplers.kernels.tempering import Tempered
from samplers.testing.targets import Enumerated, Target
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["Started", "joint_index", "joint_law", "joint_states", "ladder", "replicas"]

PLAIN = (1.0,)


def ladder(kernel: Kernel) -> tuple[float, ...]:
    """The betas whose replicas make up the joint space, the state's own first."""
    if isinstance(kernel, Tempered):
        if len(ladder(kernel.kernel)) > 1:
            raise InvalidInput("a Tempered inside a Tempered has no joint space here; test them apart")
        return kernel.betas
    if isinstance(kernel, Cycle | Mixture):
        hidden = [ladder(part) for part in kernel.parts if len(ladder(part)) > 1]
        if len(hidden) > 1:
            raise InvalidInput("two Tempered parts have no joint space here; test them apart")
        return hidden[0] if hidden else PLAIN
    return PLAIN


def joint_law(kernel: Kernel, target: Target, beta: float = 1.0) -> Tensor:
    """``float64 [joint states]``: what the kernel is to leave invariant."""
    return reduce(torch.kron, [target.probabilities(beta * b) for b in ladder(kernel)])


def joint_states(kernel: Kernel, target: Enumerated, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """States ``[chains, sites]`` and replicas ``[(rungs - 1) * chains, sites]`` of the points ``int64 [chains]``."""
    rungs, size = len(ladder(kernel)), len(target)
    digits = [points // size ** (rungs - 1 - rung) % size for rung in range(rungs)]
    hot = target.states[torch.cat(digits[1:])] if rungs > 1 else None
    return target.states[digits[0]], hot


def joint_index(kernel: Kernel, target: Enumerated, x: Tensor, state: ChainState) -> Tensor:
    """``int64 [chains]``: the points of ``x`` and of the replicas in ``state``."""
    point = target.index(x)
    for replica in replicas(kernel, state):
        point = point * len(target) + target.index(replica)
    return point


def replicas(kernel: Kernel, state: ChainState) -> tuple[Tensor, ...]:
    """The states ``[chains, sites]`` of each hotter rung, none for a kernel without any."""
    where = _path(kernel)
    if where is None:
        return ()
    aux: Mapping[str, Any] = reduce(lambda inner, key: inner[key], where, state.aux)
    return tuple(aux["x"].split(len(state.x))) if len(aux["x"]) else ()


class Started:
    """``kernel`` run at ``beta``, its hidden replicas (``[(rungs - 1) * chains, sites]``) where a test wants them."""

    def __init__(self, kernel: Kernel, hot: Tensor | None = None, beta: float = 1.0) -> None:
        self.kernel, self.hot, self.beta = kernel, hot, beta
        self.move_names = kernel.move_names

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state = self.kernel.init(x, energy)
        where = _path(self.kernel)
        if self.hot is None or where is None:
            return state
        value, terms = evaluate(energy, self.hot)
        return state._replace(aux=_updated(state.aux, where, {"x": self.hot.clone(), "energy": value, "terms": terms}))

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        return self.kernel.step(state, energy, rng, beta=self.beta * beta)


def _path(kernel: Kernel) -> tuple[str, ...] | None:
    """The keys that lead to the memory of the one ``Tempered`` with several rungs."""
    if isinstance(kernel, Tempered):
        return () if len(kernel.betas) > 1 else None
    if isinstance(kernel, Cycle | Mixture):
        for index, part in enumerate(kernel.parts):
            inner = _path(part)
            if inner is not None:
                return (f"part{index}", *inner)
    return None


def _updated(aux: Mapping[str, Any], path: tuple[str, ...], new: Mapping[str, Any]) -> dict[str, Any]:
    if not path:
        return {**aux, **new}
    return {**aux, path[0]: _updated(aux[path[0]], path[1:], new)}
