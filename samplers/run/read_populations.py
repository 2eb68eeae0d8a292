"""The populations of a run of ``smc``, read from its folder without kernel, energy or model."""

from __future__ import annotations

from samplers.run.kept_populations import load_population
from samplers.sequential_monte_carlo import SMCSample, smc_sample
from samplers.storage.run_store import RunStore

__all__ = ["stored_populations"]


def stored_populations(store: RunStore, populations: int, particles: int, *, seed: int) -> SMCSample | None:
    """Those that have reached the target, of so many ``populations`` of so many ``particles``; ``None`` without any.

    Raises ``StoreError`` for damaged files.
    """
    stored = [load_population(index, store.shard(index), particles) for index in range(populations)]
    finished = [each for each in stored if each and each.population.t == 1]
    if not finished:
        return None
    return smc_sample([each.population for each in finished], [each.nan_count.nan for each in finished], seed=seed)
