"""Starts from below: half of the chains begin at likely texts, to see whether all of them get to the same level."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.setup.job import Job
from experiments.setup.problem import Problem
from experiments.starts.made import STARTS, stored_starts

if TYPE_CHECKING:
    from torch import Tensor

    from samplers import Kernel

__all__ = ["below_among", "with_low_half"]

HOT, COLD = 1.0, 0.1  # temperatures, from the first step to the last; energies are nats of a text
HEATED = 1.5  # temperature
STEPS = 100  # and no more than the warm-up has


def with_low_half(problem: Problem, kernel: Kernel, job: Job, *, fixed_lengths: bool) -> Problem:
    """``problem`` with half of its starts annealed, by the same kernel; ``job.starts`` says which, and what it cost.

    Where all chains would start from one text, which may be a likely one, the other half is heated.
    Read from the run's folder where that has them. As they are: starts that the user gave, those of a single chain,
    and those of a kernel without accept step, which knows no temperature.
    """
    from samplers import StoreError
    from samplers.storage import damaged

    starts, x0 = job.starts, problem.x0
    if job.directory is not None and (stored := stored_starts(job.directory.store, problem.space, len(x0))):
        if stored.x.shape != x0.shape:
            raise StoreError(damaged(job.directory.path / STARTS))
        starts.totals, starts.from_below = stored.totals, stored.from_below
        return replace(problem, x0=stored.x.to(x0.device))
    if job.config.get("init") is not None or len(x0) == 1 or getattr(kernel, "no_accept_step", False):
        return problem
    starts.from_below = below_among(problem.space.lengths(x0).tolist() if fixed_lengths else [0] * len(x0))
    chains = starts.from_below.nonzero().squeeze(1).to(x0.device)
    with starts.counted(each.model for each in problem.models.values()):
        x = x0.index_copy(0, chains, _annealed(problem, kernel, job, chains))
        if bool((x0 == x0[:1]).all()) and job.settings.nan == "raise":
            others = (~starts.from_below).nonzero().squeeze(1).to(x0.device)
            x = x.index_copy(0, others, _heated(problem, kernel, job, others))
    return replace(problem, x0=x)


def below_among(lengths: list[int]) -> Tensor:
    """``bool [chains]``: every second chain, and every second of those of one length."""
    import torch

    rank, seen, below = {length: i for i, length in enumerate(sorted(set(lengths)))}, dict.fromkeys(lengths, 0), []
    for length in lengths:
        below.append((rank[length] + seen[length]) % 2 == 0)
        seen[length] += 1
    return torch.tensor(below)


def _steps(job: Job) -> int:
    return min(STEPS, job.settings.warmup_and_thin[0])


def _at_one_temperature(kernel: Kernel) -> Kernel:
    from samplers import PathTempered, Tempered

    return kernel.kernel if isinstance(kernel, Tempered | PathTempered) else kernel


def _heated(problem: Problem, kernel: Kernel, job: Job, chains: Tensor) -> Tensor:
    """``int64 [chains, width]``: where these ``chains`` are after some steps at a temperature above 1."""
    from samplers import generator, iterate

    x = problem.x0[chains]
    rng = generator(job.settings.seed, device=x.device, stream="high starts")
    kernel = _at_one_temperature(kernel)
    for _, state, _ in iterate(kernel, problem.energy, x, steps=_steps(job), rng=rng, beta=1 / HEATED):
        x = state.x
    return x


def _annealed(problem: Problem, kernel: Kernel, job: Job, chains: Tensor) -> Tensor:
    """``int64 [chains, width]``: the best text that each of these ``chains`` meets while the temperature falls."""
    from samplers import EnergyError, anneal, geometric

    settings = job.settings
    if not (steps := _steps(job)):
        return problem.x0[chains]
    try:
        return anneal(
            _at_one_temperature(kernel),
            problem.energy,
            problem.x0[chains],
            schedule=geometric(HOT, COLD),
            steps=steps,
            seed=settings.seed,
            shard_size=settings.chains_per_shard,
            nan=settings.nan,
            progress=job.progress is True,
            stream="low starts",
        ).x
    except EnergyError as error:
        error.step, error.rows = -1, [int(chains[row]) for row in error.rows]
        raise
