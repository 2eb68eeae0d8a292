"""Runs of a case from starts that a test knows: exact draws, or as many chains from every point."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.kernels.compose import Mixture
from samplers.kernels.tempering import Tempered
from samplers.randomness import generator
from samplers.run.trace import Trace
from samplers.testing.cases import Case
from samplers.testing.spaces import Started, joint_index, joint_law, joint_states
from samplers.types import Kernel

__all__ = ["DRAWS", "STEPS", "ExactRun", "end_points", "exact_run", "given_part", "run_until_part", "spread_run"]

DRAWS = 2**16
STEPS = 32


class ExactRun(NamedTuple):
    """Indices ``int64 [chains]`` of the states at the start, and at the ends of a run of one step and of 32."""

    start: Tensor
    first: Tensor
    last: Tensor


@cache
def exact_run(case: Case, draws: int, seed: int) -> ExactRun:
    """``draws`` chains from the exact joint law, through the public driver in one shard."""
    rng = generator(seed, 1)
    points = torch.multinomial(joint_law(case.kernel, case.target), draws, replacement=True, generator=rng)
    after_one, after_all = (_run_from(case, points, steps, 1.0, seed).draws[:, -1] for steps in (1, STEPS))
    start = points // (len(joint_law(case.kernel, case.target)) // len(case.target))
    return ExactRun(start, case.target.index(after_one), case.target.index(after_all))


def _run_from(case: Case, points: Tensor, steps: int, beta: float, seed: int) -> Trace:
    """Keeps the last draw alone: the others would be the larger part of the memory."""
    x0, hot = joint_states(case.kernel, case.target, points)
    kernel = Started(case.kernel, hot, beta)
    options = {"steps": steps, "warmup": steps - 1, "seed": seed, "shard_size": len(x0), "progress": False}
    return case.driver(kernel, case.target.energy, x0, **options)


def spread_run(case: Case, steps: int, beta: float, draws: int, seed: int) -> tuple[Tensor, Trace]:
    """As many chains from every point of the joint space that has a probability: no draw is kept in another."""
    points = joint_law(case.kernel, case.target).nonzero().squeeze(1)
    points = points.repeat_interleave(max(draws // len(points), 256))
    return points, _run_from(case, points, steps, beta, seed)


def end_points(case: Case, trace: Trace) -> Tensor:
    """``int64 [chains]``: where in the joint space a run ended."""
    return joint_index(case.kernel, case.target, trace.draws[:, -1], trace.final[0])


def given_part(kernel: Kernel) -> list[Kernel]:
    """What the kernel is in a step in which its Mixture drew its first part, its second, ...; itself without one."""
    if isinstance(kernel, Mixture):
        return list(kernel.parts)
    if isinstance(kernel, Tempered):
        return [Tempered(inner, kernel.betas, swap_every=kernel.swap_every) for inner in given_part(kernel.kernel)]
    return [kernel]


def run_until_part(case: Case, part: Kernel, beta: float, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """A one-step run whose step, as the names of its moves say, was one of ``part``."""
    for attempt in range(1000 * seed, 1000 * seed + 1000):
        points, trace = spread_run(case, 1, beta, draws, attempt)
        if {name for name, move in trace.moves.items() if move.tried} <= set(part.move_names):
            return points, end_points(case, trace)
    raise InvalidInput(f"a part of {case.name!r} was never drawn, or its moves are named as those of another part")
