"""Populations in a run's folder: each is a shard, and each of its stages a commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.energy.nan_policy import NaNCount
from samplers.errors import StoreError
from samplers.population import Population, Stage
from samplers.run.independent_draws import stored_device
from samplers.storage.shard_store import ShardStore
from samplers.storage.tensor_file import Form, damaged

__all__ = ["StoredPopulation", "commit_population", "load_population"]

RNG, NAN = "rng", "nan"  # names in a commit, beside the tensors of the population


class StoredPopulation(NamedTuple):
    """A population as it was at the last commit, the NaN counted until then, and the state of its generator."""

    population: Population
    nan_count: NaNCount
    rng_state: Tensor
    files: ShardStore

    def restore(self, rng: torch.Generator) -> None:
        """Give ``rng`` the state that it had. Raises ``StoreError``."""
        try:
            rng.set_state(self.rng_state)
        except (TypeError, RuntimeError) as error:
            raise StoreError(damaged(self.files.record_path)) from error


def commit_population(files: ShardStore, population: Population, rng: torch.Generator, count: NaNCount) -> None:
    """Commit a population after a stage. Raises ``StoreError``."""
    tensors = {RNG: rng.get_state(), NAN: torch.tensor([count.rows, count.nan]), **population.tensors()}
    files.commit(len(population.stages), tensors, {"device": str(population.x.device)}, {})


def load_population(index: int, files: ShardStore, particles: int) -> StoredPopulation | None:
    """Population ``index``, of so many ``particles``; ``None`` if there is no commit.

    Raises ``StoreError`` for a damaged file, ``InvalidInput`` where the device of the run is not there.
    """
    record = files.load(lambda forms: _possible(forms, particles))
    if record is None:
        return None
    device = stored_device(record.facts.get("device"), files)
    population, count = Population.of(index, record.tensors, device), NaNCount(*record.tensors[NAN].tolist())
    if population is None or len(population.stages) != files.done or not 0 <= count.nan <= count.rows:
        raise StoreError(damaged(files.record_path))
    return StoredPopulation(population, count, record.tensors[RNG], files)


def _possible(forms: Mapping[str, Form], particles: int) -> bool:
    """Whether a commit of so many particles may have tensors of these types and shapes."""
    number, whole = torch.float64, torch.int64
    wanted: dict[str, Form] = {
        "energy": (number, (particles,)),
        "log_q": (number, (particles,)),
        "ancestor": (whole, (particles,)),
        "log_z": (number, ()),
        "uncovered": (whole, ()),
        NAN: (whole, (2,)),
    }
    if forms.keys() != {*wanted, "x", "stages", RNG} or not wanted.items() <= forms.items():
        return False
    (kind, shape), states, rng = forms["stages"], forms["x"][1], forms[RNG]
    table = kind == number and len(shape) == 2 and shape[0] >= 1 and shape[1] == len(Stage._fields)
    return table and states[:1] == (particles,) and rng[0] == torch.uint8 and len(rng[1]) == 1
