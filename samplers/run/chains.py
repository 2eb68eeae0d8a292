"""Running chains: ``sample``, the loop over shards that it shares with ``anneal``, and a kernel's steps one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.energy.evaluation import rejecting_nan
from samplers.energy.nan_policy import NaNCount, NaNPolicy
from samplers.energy.row_numbers import row_numbers
from samplers.energy.terms import term_names
from samplers.errors import EnergyError, Interrupted, InvalidInput
from samplers.randomness import generator
from samplers.run.arguments import check_arguments, open_store
from samplers.run.observers import Observer, ObserverGuard
from samplers.run.progress import progress_bar
from samplers.run.resume import NAN, Collector, first_step_checked, resume_shard, zero_energy
from samplers.run.signals import Stop, stop_signals
from samplers.run.start_check import check_none_forbidden
from samplers.run.trace import Trace, TraceBuilder
from samplers.storage.fingerprint import pin_fingerprint
from samplers.storage.run_store import RunStore
from samplers.storage.shard_store import ShardStore
from samplers.storage.state_dict import pack
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["FinishedShard", "ShardedRun", "iterate", "sample", "start_chains"]


def sample(
    kernel: Kernel,
    energy: Energy,
    x0: Tensor,
    *,
    steps: int,
    warmup: int = 0,
    thin: int = 1,
    seed: int = 0,
    shard_size: int = 256,
    run_dir: str | Path | RunStore | None = None,
    shards: Sequence[int] | None = None,
    nan: NaNPolicy = "raise",
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> Trace:
    """Draw from ``exp(-energy)`` with ``kernel``, one chain for each row of ``x0``.

    Main arguments
        ``x0 [chains, ...]`` start states; ``steps`` in all, of which the first ``warmup`` are not kept; of the rest
        every ``thin``-th is. Rejected steps repeat the state and are kept like any other.
    Other arguments
        ``shard_size``: rows of ``x0`` that are run as one batch. Shard ``k`` has a generator of its own, seeded from
        ``(seed, k)``, so other shard sizes give other draws. ``shards`` names those to run here; they can be computed
        anywhere and in any order. ``run_dir``: a folder to which draws are written as they come; the same call resumes
        a run that stopped, and with more ``steps`` extends it. ``nan="reject"`` rejects a proposal whose energy is NaN,
        counts it and raises above 1 %; not for kernels without an accept step, such as ``PseudoGibbs``. ``observers``
        are called after every step and cannot break a run. ``progress`` shows a bar on stderr if that is a terminal.
    Returns
        ``Trace`` with ``(steps - warmup) // thin`` draws a chain.
    Raises
        ``InvalidInput`` before the first step, also where ``run_dir`` holds another run, or something cannot be
        described for it (see ``Configurable``); ``EnergyError`` and ``ProposalError`` in a step; ``StoreError`` for
        files that cannot be written or are damaged; with ``run_dir`` ``Interrupted`` after SIGINT or SIGTERM, when the
        step is finished and committed.
    """
    check_arguments(x0, steps=steps, warmup=warmup, thin=thin, shard_size=shard_size, seed=seed)
    names = term_names(energy)
    run = ShardedRun(
        kernel=kernel,
        energy=energy,
        x0=x0,
        steps=steps,
        seed=seed,
        shard_size=shard_size,
        make_collector=lambda start: TraceBuilder(kernel.move_names, start, terms=len(names), warmup=warmup, thin=thin),
        observe=ObserverGuard(observers),
        facts={"warmup": warmup, "thin": thin},
        nan=nan,
        kept_from=warmup + thin - 1,
    )
    with open_store(run_dir) as store:
        finished = run.run(store, shards, progress=progress)
    traces = [shard.collector.finish(names, shard.state, shard.rows, shard.nan) for shard in finished]
    return Trace.join(traces, seed=seed, observer_failures=run.observe.failures)


class FinishedShard(NamedTuple):
    """A shard after its last step: its collector, its state, the rows collected, and the number of NaN rejected."""

    collector: Any
    state: ChainState
    rows: dict[str, Tensor]
    nan: int


@dataclass(frozen=True)
class ShardedRun:
    """``steps`` of ``kernel`` on every chain of ``x0``, ``shard_size`` chains at a time.

    ``make_collector(start)`` returns the ``Collector`` of one shard. ``betas`` is a number or a function of the step.
    At step ``kept_from`` no chain may still be in a forbidden state. ``nan``: see ``rejecting_nan``. ``facts`` are
    further facts that decide the draws; a resumed run must share them with the one it continues.
    """

    kernel: Kernel
    energy: Energy
    x0: Tensor
    steps: int
    seed: int
    shard_size: int
    make_collector: Callable[[Tensor], Any]
    observe: ObserverGuard
    facts: Mapping[str, Any]
    nan: NaNPolicy
    betas: Callable[[int], float] | float = 1.0
    kept_from: int | None = None
    stream: str = "chains"

    def __post_init__(self) -> None:
        if self.nan not in ("raise", "reject"):
            raise InvalidInput(f"nan is {self.nan!r}; choose 'raise' or 'reject'")
        if self.nan == "reject" and getattr(self.kernel, "no_accept_step", False):
            raise InvalidInput(
                f"nan is 'reject', but {type(self.kernel).__name__} accepts some proposals whatever their energy; "
                "choose 'raise', or a kernel with an accept step"
            )

    @property
    def shard_count(self) -> int:
        return -(-len(self.x0) // self.shard_size)

    def run(self, store: RunStore | None, shards: Sequence[int] | None, *, progress: bool) -> list[FinishedShard]:
        """Run the given shards, by default all, from where ``store`` has them to the last step.

        Raises ``InvalidInput`` where the folder holds another run, ``StoreError`` where it is damaged,
        ``Interrupted`` after SIGINT or SIGTERM.
        """
        chosen = range(self.shard_count) if shards is None else shards
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.shard_count)):
            raise InvalidInput(f"shards is {list(chosen)}; give some of 0..{self.shard_count - 1}, each once")
        if store:
            pin_fingerprint(store, self.all_facts())
        with (
            progress_bar(self.steps * len(chosen), shown=progress) as bar,
            stop_signals(caught=store is not None) as stop,
        ):
            return [self._run_shard(index, store.shard(index) if store else None, stop, bar.update) for index in chosen]

    def all_facts(self) -> dict[str, Any]:
        """Everything that the draws depend on."""
        return {
            "kernel": self.kernel,
            "energy": self.energy,
            "chains": len(self.x0),
            "start": self.x0,
            "device": self.x0.device.type,
            "seed": self.seed,
            "shard_size": self.shard_size,
            "nan": self.nan,
            **self.facts,
        }

    def _run_shard(
        self, index: int, files: ShardStore | None, stop: Stop, advance: Callable[[int], Any]
    ) -> FinishedShard:
        first_row = index * self.shard_size
        start = self.x0[first_row : first_row + self.shard_size]
        rng = generator(self.seed, index, self.x0.device, stream=self.stream)
        collector, nan_count = self.make_collector(start), NaNCount()
        no_rows = collector.take_rows()
        done, state = self._start_or_resume(start, first_row, collector, nan_count, rng, files)
        if files:
            files.make()  # nothing is written for an energy that cannot be started with
        first_state = state
        advance(done)
        steps = iterate(
            self.kernel,
            rejecting_nan(self.energy, nan_count) if self.nan == "reject" else self.energy,
            state,
            steps=self.steps,
            first=done,
            rng=rng,
            beta=self.betas,
            first_row=first_row,
        )
        for step, state, info in first_step_checked(steps, files.record_path) if files and done else steps:
            if step == self.kept_from:
                check_none_forbidden(self.energy, step, state, first_row)
            collector.record(step, state, info)
            self.observe(step, state, info)
            advance(1)
            stopped = stop()
            if files and (stopped or files.due(step + 1) or step + 1 == self.steps):
                memory = {**collector.memory(), NAN: torch.tensor([nan_count.rows, nan_count.nan])}
                files.commit(step + 1, pack(state, rng, memory, first_state), {}, collector.take_rows())
                if stopped and step + 1 < self.steps:
                    raise Interrupted(stopped, files.path.parents[1], step + 1)
        rows = files.rows(no_rows, collector.row_count) if files else collector.take_rows()
        return FinishedShard(collector, state, rows, nan_count.nan)

    def _start_or_resume(
        self,
        start: Tensor,
        first_row: int,
        collector: Collector,
        nan_count: NaNCount,
        rng: torch.Generator,
        files: ShardStore | None,
    ) -> tuple[int, ChainState]:
        """Number of steps done, and the state after them."""
        if files is None or files.load_facts() is None:
            state = start_chains(self.kernel, self.energy, start, first_row=first_row)
            collector.record_start(state)
            return 0, state
        if files.done > self.steps:
            raise InvalidInput(
                f"steps is {self.steps}, but {files.done} are done in {str(files.path)!r}; give at least that many"
            )
        template = start_chains(self.kernel, zero_energy(self.energy), start)
        finished = files.done == self.steps
        state = resume_shard(self.energy, template, files, collector, nan_count, rng, finished=finished)
        return files.done, state


def start_chains(kernel: Kernel, energy: Energy, x0: Tensor, *, first_row: int = 0) -> ChainState:
    """The kernel's state before the first step.

    ``first_row`` is the number that errors give to the first chain. Raises ``EnergyError`` with ``step`` -1.
    """
    with torch.inference_mode(), _errors_located(-1, first_row):
        return kernel.init(x0, energy)


def iterate(
    kernel: Kernel,
    energy: Energy,
    start: Tensor | ChainState,
    *,
    steps: int,
    rng: torch.Generator,
    beta: float | Callable[[int], float] = 1.0,
    first: int = 0,
    first_row: int = 0,
) -> Iterator[tuple[int, ChainState, StepInfo]]:
    """Yield ``(step, state, info)`` for ``step`` in ``first..steps-1``.

    ``start`` is ``[chains, ...]`` states or a ``ChainState``; ``beta`` is a number or a function of the step;
    ``first_row`` is the number that errors give to the first chain.
    Raises ``EnergyError`` with its ``step`` filled in.
    """
    state = start if isinstance(start, ChainState) else start_chains(kernel, energy, start, first_row=first_row)
    for step in range(first, steps):
        with torch.inference_mode(), _errors_located(step, first_row):
            state, info = kernel.step(state, energy, rng, beta=beta(step) if callable(beta) else beta)
        yield step, state, info


@contextmanager
def _errors_located(step: int, first_row: int) -> Iterator[None]:
    """Give an ``EnergyError`` its step, and its rows the numbers of the chains."""
    with row_numbers(lambda row: row + first_row):
        try:
            yield
        except EnergyError as error:
            error.step = step
            raise
