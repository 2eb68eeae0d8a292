"""Simulated annealing: optimisation by a kernel at falling temperatures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from samplers.energy.nan_policy import NaNPolicy
from samplers.energy.terms import term_names
from samplers.errors import InvalidInput
from samplers.run.arguments import check_arguments, open_store
from samplers.run.chains import ShardedRun
from samplers.run.observers import Observer, ObserverGuard
from samplers.schedules import Schedule
from samplers.storage.run_store import RunStore
from samplers.storage.tensor_file import digest
from samplers.types import ChainState, Energy, Kernel, StepInfo, select

__all__ = ["Annealed", "anneal"]


@dataclass(frozen=True)
class Annealed:
    """The best state that each chain visited: an optimum found, **not a sample** of any law.

    ``x [chains, ...]``; ``energy float64 [chains]``, untempered, in nats; ``terms float64 [chains, terms]``;
    ``found_at int64 [chains]``: the step (-1: the start); ``history float64 [chains, steps]``: energies of the current
    states; ``nan_rejected``: number of scored rows that were NaN, with ``nan="reject"``.
    """

    x: Tensor
    energy: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    found_at: Tensor
    history: Tensor
    seed: int
    observer_failures: int
    nan_rejected: int = 0


def anneal(
    kernel: Kernel,
    energy: Energy,
    x0: Tensor,
    *,
    schedule: Schedule,
    steps: int,
    seed: int = 0,
    shard_size: int = 256,
    run_dir: str | Path | RunStore | None = None,
    shards: Sequence[int] | None = None,
    nan: NaNPolicy = "raise",
    observers: Sequence[Observer] = (),
    progress: bool = True,
    stream: str = "chains",
) -> Annealed:
    """Run ``kernel`` at ``beta = 1 / schedule(step, steps)`` and keep the best state of each chain.

    A temperature of 0 accepts no rise in energy (hill climbing). Arguments and errors as in ``sample``; but as the
    temperatures depend on ``steps``, a run in ``run_dir`` can be resumed and not extended. ``stream``: see
    ``generator``; name another one where chains of the same seed start from what is found.
    Reference: Kirkpatrick, Gelatt & Vecchi 1983, Science 220.
    """
    check_arguments(x0, steps=steps, shard_size=shard_size, seed=seed)
    betas = [_beta(schedule(step, steps), step) for step in range(steps)]
    run = ShardedRun(
        kernel=kernel,
        energy=energy,
        x0=x0,
        steps=steps,
        seed=seed,
        shard_size=shard_size,
        make_collector=_BestStates,
        observe=ObserverGuard(observers),
        facts={"betas": digest({"betas": torch.tensor(betas, dtype=torch.float64)}), "stream": stream},
        nan=nan,
        betas=betas.__getitem__,
        stream=stream,
    )
    with open_store(run_dir) as store:
        finished = run.run(store, shards, progress=progress)
    columns = [
        (best.x, best.energy, best.terms, best.found_at, rows["history"].T.to(x0.device))
        for best, _, rows, _ in finished
    ]
    x, value, terms, found_at, history = (torch.cat(column) for column in zip(*columns, strict=True))
    nan_rejected = sum(shard.nan for shard in finished)
    return Annealed(x, value, terms, term_names(energy), found_at, history, seed, run.observe.failures, nan_rejected)


class _BestStates:
    """The best state of each chain of a shard so far, the start included, and the energy after every step."""

    def __init__(self, start: Tensor) -> None:
        self._no_rows = start.new_empty((0, len(start)), dtype=torch.float64)
        self._energies: list[Tensor] = []

    def record_start(self, state: ChainState) -> None:
        self.x, self.energy, self.terms = state.x, state.energy, state.terms
        self.found_at = torch.full((len(state.x),), -1, device=state.x.device)

    def record(self, step: int, state: ChainState, info: StepInfo) -> None:
        better = state.energy < self.energy
        self.x, self.energy = select(better, state.x, self.x), select(better, state.energy, self.energy)
        self.terms = select(better, state.terms, self.terms)
        self.found_at = self.found_at.masked_fill(better, step)
        self._energies.append(state.energy)

    def take_rows(self) -> dict[str, Tensor]:
        energies, self._energies = self._energies, []
        return {"history": torch.stack(energies) if energies else self._no_rows}

    def memory(self) -> dict[str, Tensor]:
        return {"x": self.x, "energy": self.energy, "terms": self.terms, "found_at": self.found_at}

    def row_count(self, start: int, end: int) -> int:
        return end - start

    def is_possible(self, memory: Mapping[str, Tensor], done: int) -> bool:
        found_at, energies = memory["found_at"], torch.stack([memory["energy"], memory["terms"].sum(dim=1)])
        return bool(((found_at >= -1) & (found_at < done)).all()) and not bool((energies == -math.inf).any())

    def restore(self, memory: Mapping[str, Tensor]) -> None:
        self.x, self.energy, self.terms, self.found_at = (memory[name] for name in ("x", "energy", "terms", "found_at"))


def _beta(temperature: float, step: int) -> float:
    if not 0 <= temperature < math.inf:
        raise InvalidInput(f"the schedule gives the temperature {temperature} at step {step}; give finite numbers >= 0")
    return 1 / temperature if temperature > 0 else math.inf
