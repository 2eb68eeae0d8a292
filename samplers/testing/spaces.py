"""Hidden coordinates of a kernel: what a test must draw exactly besides the states to start a chain in equilibrium.

A kernel that runs copies of each chain, as ``Tempered`` does, lists their betas in ``betas``, the chain's own first,
and keeps the other copies in its ``aux``: ``x [copies * chains, ...]``, ``energy`` and ``terms``, beta by beta. Where
their laws are not the target to these powers, ``rung_laws(space, beta)`` are. A kernel made of others lists them in
``parts``, or has the one in ``kernel``.

An estimate that ``PseudoMarginal`` keeps is another: ``StartedPseudoMarginal`` starts with one of the right law.

A point of the *joint space* of ``r`` betas over ``S`` states has the number ``i_0 S^(r-1) + ... + i_(r-1)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.errors import InvalidInput
from samplers.kernels.pseudo_marginal import PseudoMarginal
from samplers.randomness import generator
from samplers.testing.proposals import dirichlet_table
from samplers.testing.targets import Enumerated
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = [
    "Started",
    "StartedPseudoMarginal",
    "TabularEstimate",
    "hidden",
    "joint_index",
    "joint_law",
    "joint_states",
    "ladder",
    "parts_of",
]

PLAIN = (1.0,)
COPIES = {"x", "energy", "terms"}


def parts_of(kernel: Kernel) -> tuple[Kernel, ...]:
    """The kernels that ``kernel`` is made of; none for a plain one."""
    inner = getattr(kernel, "kernel", None)
    return tuple(getattr(kernel, "parts", () if inner is None else (inner,)))


def ladder(kernel: Kernel) -> tuple[float, ...]:
    """The betas whose copies make up the joint space, the state's own first."""
    own: tuple[float, ...] = getattr(kernel, "betas", PLAIN)
    inner = [betas for betas in map(ladder, parts_of(kernel)) if len(betas) > 1]
    if inner and hasattr(kernel, "betas"):
        raise InvalidInput("a Tempered inside a Tempered has no joint space here; test them apart")
    if len(inner) > 1:
        raise InvalidInput("two Tempered parts have no joint space here; test them apart")
    return inner[0] if inner else own


def joint_law(kernel: Kernel, target: Enumerated, beta: float = 1.0) -> Tensor:
    """``float64 [joint states]``: the law that the kernel must leave invariant."""
    laws = getattr(_with_copies(kernel), "rung_laws", None)
    return reduce(torch.kron, laws(target, beta) if laws else [target.probabilities(beta * b) for b in ladder(kernel)])


def _with_copies(kernel: Kernel) -> Kernel:
    """The part of ``kernel`` that runs copies, itself if there is none."""
    return next((_with_copies(part) for part in parts_of(kernel) if len(ladder(part)) > 1), kernel)


def joint_states(kernel: Kernel, target: Enumerated, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """States ``[chains, sites]`` and copies ``[(betas - 1) * chains, sites]`` of the points ``int64 [chains]``."""
    rungs, size = len(ladder(kernel)), len(target)
    digits = [points // size ** (rungs - 1 - rung) % size for rung in range(rungs)]
    hot = target.states[torch.cat(digits[1:])] if rungs > 1 else None
    return target.states[digits[0]], hot


def joint_index(kernel: Kernel, target: Enumerated, x: Tensor, state: ChainState) -> Tensor:
    """``int64 [chains]``: the points of ``x`` and of the copies in ``state``."""
    point, copies = target.index(x), hidden(kernel, state)
    for copy in () if copies is None else copies["x"].split(len(x)):
        point = point * len(target) + target.index(copy)
    return point


def hidden(kernel: Kernel, state: ChainState) -> Mapping[str, Any] | None:
    """``x``, ``energy`` and ``terms`` of the copies at the other betas, ``None`` for a kernel without any."""
    if len(ladder(kernel)) == 1:
        return None
    found: Mapping[str, Any] = reduce(lambda aux, key: aux[key], _path(state.aux), state.aux)
    return found


class Started:
    """``kernel`` run at ``beta``, with its copies started at ``hot [(betas - 1) * chains, sites]``."""

    def __init__(self, kernel: Kernel, hot: Tensor | None = None, beta: float = 1.0) -> None:
        self.kernel, self.hot, self.beta = kernel, hot, beta
        self.move_names = kernel.move_names

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state = self.kernel.init(x, energy)
        if self.hot is None:
            return state
        value, terms = evaluate(energy, self.hot)
        copies = {"x": self.hot.clone(), "energy": value, "terms": terms}
        return state._replace(aux=_updated(state.aux, _path(state.aux), copies))

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        return self.kernel.step(state, energy, rng, beta=self.beta * beta)


class TabularEstimate:
    """``W`` is one of ``outcomes`` weights of each state of ``space``, all as likely; their mean is 1.

    They differ much, and otherwise from state to state.
    """

    def __init__(self, space: Enumerated, outcomes: int, *, seed: int) -> None:
        self.space, self.weights = space, outcomes * dirichlet_table(len(space), outcomes, seed=seed)

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        outcomes = self.weights.shape[1]
        outcome = (torch.special.ndtr(noise[..., 0]) * outcomes).long().clamp(max=outcomes - 1)
        return -self.weights[self.space.index(x)].gather(1, outcome).log()


class StartedPseudoMarginal(PseudoMarginal):
    """Starts with an estimate of the law that it has in equilibrium, ``W`` times as likely as a fresh one.

    One of the averaged ``samples`` is drawn by its weight, the others as always: their mean then has that law.
    """

    estimate: TabularEstimate

    def __init__(self, estimate: TabularEstimate, kernel: Kernel, *, samples: int = 1) -> None:
        super().__init__(estimate, kernel, samples=samples)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        state, rng = super().init(x, energy), generator(0, stream="estimates")
        weights = self.estimate.weights[self.estimate.space.index(x)]
        drawn = torch.randint(weights.shape[1], (len(x), self.samples), generator=rng)
        drawn[:, 0] = torch.multinomial(weights, 1, generator=rng).squeeze(1)
        mean = weights.gather(1, drawn).mean(dim=1)
        counted = torch.full((len(x),), self.samples)
        return state._replace(aux={**state.aux, "estimate": -mean.log(), "estimated": counted})


def _path(aux: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that lead to the copies of the one kernel that has any."""
    return next(_paths(aux))


def _paths(aux: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if aux.keys() >= COPIES and len(aux["x"]):
        yield ()
    for key, value in aux.items():
        if isinstance(value, Mapping):
            yield from ((key, *path) for path in _paths(value))


def _updated(aux: Mapping[str, Any], path: tuple[str, ...], new: Mapping[str, Any]) -> dict[str, Any]:
    if not path:
        return {**aux, **new}
    return {**aux, path[0]: _updated(aux[path[0]], path[1:], new)}
