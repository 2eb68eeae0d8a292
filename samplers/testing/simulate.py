"""Runs of a case from known starts: exact draws of the target, or equally many chains from every point."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.randomness import generator
from samplers.run.trace import Trace
from samplers.testing.cases import Case
from samplers.testing.spaces import Started, joint_index, joint_law, joint_states
from samplers.types import Kernel

__all__ = ["DRAWS", "STEPS", "ExactRun", "end_points", "exact_run", "run_until_branch", "spread_run"]

DRAWS = 2**16
STEPS = 32


class ExactRun(NamedTuple):
    """Indices ``int64 [chains]`` of the states at the start, after one step, and after 32 steps of another run."""

    start: Tensor
    first: Tensor
    last: Tensor


@cache
def exact_run(case: Case, draws: int, seed: int, beta: float) -> ExactRun:
    """``draws`` chains from the exact joint law at ``beta``, through the public driver in one shard.

    Tests of one case share it: without defaults, as the cache takes a call that leaves one out for another.
    """
    rng, law = generator(seed, stream="starts"), joint_law(case.kernel, case.target, beta)
    points = torch.multinomial(law, draws, replacement=True, generator=rng)
    after_one, after_all = (_run_from(case, points, steps, beta, seed).draws[:, -1] for steps in (1, STEPS))
    start = points // (len(law) // len(case.target))
    return ExactRun(start, case.target.index(after_one), case.target.index(after_all))


def _run_from(case: Case, points: Tensor, steps: int, beta: float, seed: int) -> Trace:
    """Only the last draw is kept, to save memory."""
    x0, hot = joint_states(case.kernel, case.target, points)
    kernel = Started(case.kernel, hot, beta)
    options = {"steps": steps, "warmup": steps - 1, "seed": seed, "shard_size": len(x0), "progress": False}
    return case.driver(kernel, case.target.energy, x0, **options)


def spread_run(case: Case, steps: int, beta: float, draws: int, seed: int) -> tuple[Tensor, Trace]:
    """Equally many chains from every point of the joint space that has a probability above 0."""
    points = joint_law(case.kernel, case.target).nonzero().squeeze(1)
    points = points.repeat_interleave(max(draws // len(points), 256))
    return points, _run_from(case, points, steps, beta, seed)


def end_points(case: Case, trace: Trace) -> Tensor:
    """``int64 [chains]``: where in the joint space a run ended."""
    return joint_index(case.kernel, case.target, trace.draws[:, -1], trace.final[0])


def run_until_branch(case: Case, branch: Kernel, beta: float, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """A one-step run in which, by the names of its moves, the kernel was ``branch``: starts and ends, as points."""
    for attempt in range(1000 * seed, 1000 * seed + 1000):
        points, trace = spread_run(case, 1, beta, draws, attempt)
        if {name for name, move in trace.moves.items() if move.tried} <= set(branch.move_names):
            return points, end_points(case, trace)
    raise InvalidInput(f"a part of {case.name!r} was never drawn, or its moves are named as those of another part")
