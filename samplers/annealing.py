"""Simulated annealing: optimisation with a kernel whose temperature falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.driver import Observer, ObserverGuard, begin, check_run, iterate
from samplers.energies import term_names
from samplers.errors import InvalidInput
from samplers.progress import progress_bar
from samplers.randomness import generator
from samplers.schedules import Schedule
from samplers.types import ChainState, Energy, Kernel, select

__all__ = ["Annealed", "anneal"]


@dataclass(frozen=True)
class Annealed:
    """The best state that each chain visited: an optimum found, **not a sample** of any law.

    ``x [chains, ...]``, ``energy float64 [chains]`` (untempered, nats), ``terms float64 [chains, terms]``,
    ``found_at int64 [chains]`` the step (-1: the start), ``history float64 [chains, steps]`` the current energies.
    """

    x: Tensor
    energy: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    found_at: Tensor
    history: Tensor
    seed: int
    observer_failures: int


def anneal(
    kernel: Kernel,
    energy: Energy,
    x0: Tensor,
    *,
    schedule: Schedule,
    steps: int,
    seed: int = 0,
    shard_size: int = 256,
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> Annealed:
    """Run ``kernel`` at ``beta = 1 / schedule(step, steps)`` and keep the best state of each chain.

    A temperature of 0 accepts no rise in energy (hill climbing). Arguments and errors as in ``sample``.
    Reference: Kirkpatrick, Gelatt & Vecchi 1983, Science 220.
    """
    check_run(x0, steps=steps, shard_size=shard_size)
    betas = [_beta(schedule(step, steps), step) for step in range(steps)]
    notify = ObserverGuard(observers)
    results = []
    with progress_bar(steps * -(-len(x0) // shard_size), shown=progress) as bar:
        for index, start in enumerate(x0.split(shard_size)):
            first_row, rng = index * shard_size, generator(seed, index, x0.device)
            best = state = begin(kernel, energy, start, first_row=first_row)
            found_at = torch.full((len(start),), -1, device=x0.device)
            history = torch.empty(len(start), steps, dtype=torch.float64, device=x0.device)
            run = iterate(kernel, energy, state, steps=steps, rng=rng, beta=betas.__getitem__, first_row=first_row)
            for step, state, info in run:
                better = state.energy < best.energy
                best = _better(better, state, best)
                found_at = found_at.masked_fill(better, step)
                history[:, step] = state.energy
                notify(step, state, info)
                bar.update()
            results.append((best.x, best.energy, best.terms, found_at, history))
    x, value, terms, found_at, history = (torch.cat(column) for column in zip(*results, strict=True))
    return Annealed(x, value, terms, term_names(energy), found_at, history, seed, notify.failures)


def _beta(temperature: float, step: int) -> float:
    if not 0 <= temperature < math.inf:
        raise InvalidInput(f"the schedule gives the temperature {temperature} at step {step}; give finite numbers >= 0")
    return 1 / temperature if temperature > 0 else math.inf


def _better(mask: Tensor, new: ChainState, old: ChainState) -> ChainState:
    return ChainState(
        select(mask, new.x, old.x), select(mask, new.energy, old.energy), {}, select(mask, new.terms, old.terms)
    )
