"""Resuming one shard: its state, its collector and its generator as they were at the last commit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.energy.nan_policy import NaNCount
from samplers.energy.terms import Flat, WeightedSum, named, term_names
from samplers.errors import McmcTextError, StoreError
from samplers.storage.shard_store import PUT_BACK, ShardStore
from samplers.storage.state_dict import forms, unpack
from samplers.storage.tensor_file import damaged
from samplers.types import ChainState, Energy, StepInfo

__all__ = ["NAN", "Collector", "first_step_checked", "resume_shard", "zero_energy"]

NAN = "nan"  # name of the NaN counts in a commit, beside the collector's memory
TOLERANCE = 1e-4  # relative, and in nats: how far energies of equal texts differ between passes of other shapes

Steps = Iterator[tuple[int, ChainState, StepInfo]]


class Collector(Protocol):
    """What a run keeps of one shard."""

    def record_start(self, state: ChainState) -> None:
        """The state before the first step; in a resumed run ``restore`` follows, and replaces it."""

    def record(self, step: int, state: ChainState, info: StepInfo) -> None: ...

    def take_rows(self) -> dict[str, Tensor]:
        """Rows since the last call, ``[rows, ...]`` by name; in the first call none, with their types and shapes."""

    def memory(self) -> dict[str, Tensor]:
        """What a commit holds besides rows: always the same names, types and shapes, and no NaN."""

    def row_count(self, start: int, end: int) -> int:
        """The number of rows that the steps ``start..end-1`` give."""

    def is_possible(self, memory: Mapping[str, Tensor], done: int) -> bool:
        """Whether ``memory``, of the right names, types and shapes, can be what ``done`` steps have left."""

    def restore(self, memory: Mapping[str, Tensor]) -> None: ...


def resume_shard(
    energy: Energy,
    template: ChainState,
    files: ShardStore,
    collector: Collector,
    nan_count: NaNCount,
    rng: torch.Generator,
    *,
    finished: bool,
) -> ChainState:
    """The committed state; collector, count and generator are restored too. Raises ``StoreError`` for damaged files.

    ``template`` is a state of the same kernel, whose names, types and shapes the committed one must have. Unless the
    run has ``finished``, all rows are read, so that damage is reported before the first step, and a warning says where
    the energy of the committed states has changed.
    """
    collector.record_start(template)
    memory = {**collector.memory(), NAN: torch.zeros(2, dtype=torch.int64)}
    wanted = forms(template, memory, rng)
    committed = files.load(lambda found: found == wanted)
    assert committed is not None, "there is a commit"
    state, memory = unpack(committed, files.record_path, template, memory, rng)
    nan_count.rows, nan_count.nan = memory.pop(NAN).tolist()
    if not (0 <= nan_count.nan <= nan_count.rows and collector.is_possible(memory, files.done)):
        raise StoreError(damaged(files.record_path))
    collector.restore(memory)
    if not finished:
        for _ in files.chunks(collector.take_rows(), collector.row_count):
            pass
        _warn_if_changed(energy, state)
    return state


def first_step_checked(steps: Steps, path: Path) -> Steps:
    """``steps``, with a ``StoreError`` where the first one fails on what the commit record at ``path`` holds."""
    try:
        first = next(steps, None)
    except McmcTextError:
        raise
    except Exception as error:
        raise StoreError(
            f"no step can be taken from what {str(path)!r} holds ({type(error).__name__}: {error}); {PUT_BACK}"
        ) from error
    if first is not None:
        yield first
    yield from steps


def zero_energy(energy: Energy) -> Energy:
    """As many terms as ``energy`` has, all 0: shows what a kernel keeps in its state without calling a model."""
    return WeightedSum([(1.0, named(str(term), Flat())) for term in range(len(term_names(energy)))])


def _warn_if_changed(energy: Energy, state: ChainState) -> None:
    with torch.inference_mode():
        now = evaluate(energy, state.x).energy
    if not torch.allclose(now, state.energy, rtol=TOLERANCE, atol=TOLERANCE):
        apart = (now - state.energy)[now != state.energy].abs().max().item()
        warnings.warn(
            f"energies differ by up to {apart:.2g} nats from those of the same states before the run stopped; the "
            "draws may differ from those of an uninterrupted run",
            stacklevel=2,
        )
