"""The loop that sampling and annealing share: shards of chains, each resumable, each with a generator of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate, rejecting_nan
from samplers.energy.nan_policy import NaNCount, NaNPolicy
from samplers.energy.terms import Flat, WeightedSum, named, term_names
from samplers.errors import Interrupted, InvalidInput, McmcTextError, StoreError
from samplers.randomness import generator
from samplers.run.iterate import iterate, start_chains
from samplers.run.observers import ObserverGuard
from samplers.run.progress import progress_bar
from samplers.run.signals import Stop, stop_signals
from samplers.run.start_check import check_left
from samplers.storage.fingerprint import pin_fingerprint
from samplers.storage.run_store import PUT_BACK, RunStore, ShardStore
from samplers.storage.state_dict import pack, unpack
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["Collector", "Finished", "ShardedRun"]

NAN = "nan"  # the memory of the NaN policy, beside that of the collector
TOLERANCE = 1e-4  # relative, and in nats: energies that passes of another shape may give for the same texts


Steps = Iterator[tuple[int, ChainState, StepInfo]]


class Collector(Protocol):
    """What a run keeps of one shard."""

    def begin(self, state: ChainState) -> None:
        """Where the chains start; of a run that goes on ``restore`` tells better."""

    def add(self, step: int, state: ChainState, info: StepInfo) -> None: ...

    def flush(self) -> dict[str, Tensor]:
        """Rows kept since the last call, ``[rows, ...]`` by name; at first none, with their types and shapes."""

    def memory(self) -> dict[str, Tensor]:
        """What has to survive besides rows: always the same names, types and shapes, and no NaN."""

    def restore(self, memory: Mapping[str, Tensor]) -> None: ...


class Finished(NamedTuple):
    """A shard whose steps are all done: its collector, its last state, all its rows, and the NaN that it met."""

    collector: Any
    state: ChainState
    rows: dict[str, Tensor]
    nan: int


@dataclass(frozen=True)
class ShardedRun:
    """``steps`` of ``kernel`` on every chain of ``x0``, ``shard_size`` chains at a time.

    ``betas`` is a function of the step; at step ``kept_from`` no chain may be in a forbidden state any more; ``nan``:
    see ``rejecting_nan``. ``frozen`` are further facts that a resumed run must share with the one it continues.
    """

    kernel: Kernel
    energy: Energy
    x0: Tensor
    steps: int
    seed: int
    shard_size: int
    collector: Callable[[Tensor], Any]
    notify: ObserverGuard
    frozen: Mapping[str, Any]
    nan: NaNPolicy
    betas: Callable[[int], float] | float = 1.0
    kept_from: int | None = None

    def __post_init__(self) -> None:
        if self.nan not in ("raise", "reject"):
            raise InvalidInput(f"nan is {self.nan!r}; choose 'raise' or 'reject'")
        if self.nan == "reject" and getattr(self.kernel, "no_accept_step", False):
            raise InvalidInput(
                f"nan is 'reject', but {type(self.kernel).__name__} takes some proposals whatever their energy; choose "
                "'raise', or a kernel with an accept step"
            )

    @property
    def count(self) -> int:
        return -(-len(self.x0) // self.shard_size)

    def run(self, store: RunStore | None, shards: Sequence[int] | None, *, progress: bool) -> list[Finished]:
        """Do what is not yet done of the given shards, by default all.

        Raises ``InvalidInput`` where the folder's run is another one, ``StoreError`` where it is damaged,
        ``Interrupted`` after SIGINT or SIGTERM.
        """
        chosen = range(self.count) if shards is None else shards
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.count)):
            raise InvalidInput(f"shards is {list(chosen)}; give some of 0..{self.count - 1}, each once")
        if store:
            pin_fingerprint(store, self.facts())
        with (
            progress_bar(self.steps * len(chosen), shown=progress) as bar,
            stop_signals(caught=store is not None) as stop,
        ):
            return [self._shard(index, store.shard(index) if store else None, stop, bar.update) for index in chosen]

    def facts(self) -> dict[str, Any]:
        """All that the draws depend on."""
        return {
            "kernel": self.kernel,
            "energy": self.energy,
            "chains": len(self.x0),
            "start": self.x0,
            "device": self.x0.device.type,
            "seed": self.seed,
            "shard_size": self.shard_size,
            "nan": self.nan,
            **self.frozen,
        }

    def _shard(self, index: int, files: ShardStore | None, stop: Stop, advance: Callable[[int], Any]) -> Finished:
        first_row = index * self.shard_size
        start = self.x0[first_row : first_row + self.shard_size]
        rng = generator(self.seed, index, self.x0.device)
        collector, counts = self.collector(start), NaNCount()
        nothing = collector.flush()
        done, state = self._begun(start, first_row, collector, counts, rng, files)
        begun = state
        advance(done)
        following = iterate(
            self.kernel,
            rejecting_nan(self.energy, counts) if self.nan == "reject" else self.energy,
            state,
            steps=self.steps,
            first=done,
            rng=rng,
            beta=self.betas,
            first_row=first_row,
        )
        for step, state, info in _going_on(following, files.record_path) if files and done else following:
            if step == self.kept_from:
                check_left(self.energy, step, state, first_row)
            collector.add(step, state, info)
            self.notify(step, state, info)
            advance(1)
            stopped = stop()
            if files and (stopped or files.due(step + 1) or step + 1 == self.steps):
                memory = {**collector.memory(), NAN: torch.tensor([counts.rows, counts.nan])}
                files.commit(step + 1, pack(state, rng, memory, begun), {}, collector.flush())
                if stopped and step + 1 < self.steps:
                    raise Interrupted(stopped, files.path.parents[1], step + 1)
        rows = files.rows(nothing) if files else collector.flush()
        return Finished(collector, state, rows, counts.nan)

    def _begun(
        self,
        start: Tensor,
        first_row: int,
        collector: Collector,
        counts: NaNCount,
        rng: torch.Generator,
        files: ShardStore | None,
    ) -> tuple[int, ChainState]:
        """Steps done and the state after them."""
        saved = files.load() if files else None
        if files is None or saved is None:
            state = start_chains(self.kernel, self.energy, start, first_row=first_row)
            collector.begin(state)
            return 0, state
        if files.done > self.steps:
            raise InvalidInput(
                f"steps is {self.steps}, but {files.done} are done in {str(files.path)!r}; give at least that many"
            )
        like = start_chains(self.kernel, _blank(len(term_names(self.energy))), start)
        collector.begin(like)
        memory = {**collector.memory(), NAN: torch.zeros(2, dtype=torch.int64)}
        state, memory = unpack(saved, files.record_path, like, memory, rng)
        counts.rows, counts.nan = memory.pop(NAN).tolist()
        collector.restore(memory)
        if files.done < self.steps:
            for _ in files.chunks(collector.flush()):  # so that damage is told now and not after all the steps
                pass
            self._compare(state)
        return files.done, state

    def _compare(self, state: ChainState) -> None:
        """Warn where the energy now gives other values for the states than it gave when they were committed."""
        with torch.inference_mode():
            now = evaluate(self.energy, state.x).energy
        if not torch.allclose(now, state.energy, rtol=TOLERANCE, atol=TOLERANCE):
            apart = (now - state.energy)[now != state.energy].abs().max().item()
            warnings.warn(
                f"energies differ by up to {apart:.2g} nats from those of the same states before the run stopped; the "
                "draws may differ from those of an uninterrupted run",
                stacklevel=2,
            )


def _blank(terms: int) -> Energy:
    """So many terms, all 0: shows what a kernel keeps in its state without asking a model."""
    return WeightedSum([(1.0, named(str(term), Flat())) for term in range(terms)])


def _going_on(following: Steps, path: Path) -> Steps:
    """``following``, whose first step meets what somebody may have written into the record at ``path``."""
    try:
        first = next(following, None)
    except McmcTextError:
        raise
    except Exception as error:
        raise StoreError(
            f"no step can be taken from what {str(path)!r} holds ({type(error).__name__}: {error}); {PUT_BACK}"
        ) from error
    if first is not None:
        yield first
    yield from following
