"""``sample``: draw with a Markov kernel, with warm-up, thinning, shards and a folder that survives a crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

from torch import Tensor

from samplers.energy.nan_policy import NaNPolicy
from samplers.energy.terms import term_names
from samplers.errors import InvalidInput
from samplers.run.observers import Observer, ObserverGuard
from samplers.run.sharded_run import ShardedRun
from samplers.run.trace import Trace, TraceBuilder, versions
from samplers.storage.run_store import RunStore
from samplers.types import Energy, Kernel

__all__ = ["check_arguments", "open_store", "sample"]


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
    check_arguments(x0, steps=steps, warmup=warmup, thin=thin, shard_size=shard_size)
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


def check_arguments(x0: Tensor, *, steps: int, warmup: int = 0, thin: int = 1, shard_size: int) -> None:
    """Raise ``InvalidInput`` unless there is a chain with a state, and at least one draw of it would be kept."""
    if not isinstance(x0, Tensor):
        raise InvalidInput(f"x0 is {type(x0).__name__}; give a tensor whose first dimension is the chain")
    if x0.dim() == 0 or x0.numel() == 0:
        raise InvalidInput(f"x0 has shape {list(x0.shape)}; its first dimension is the chain, and none may be 0")
    for name, value in (("steps", steps), ("thin", thin), ("shard_size", shard_size), ("warmup", warmup)):
        if not isinstance(value, Integral):
            raise InvalidInput(f"{name} is {value!r}; give a whole number")
        if value < 1 and name != "warmup":
            raise InvalidInput(f"{name} is {value}; give at least 1")
    if warmup < 0:
        raise InvalidInput(f"warmup is {warmup}; give 0 or more")
    if warmup >= steps:
        raise InvalidInput(f"warmup is {warmup} of {steps} steps; leave at least one step to keep")
    if thin > steps - warmup:
        raise InvalidInput(f"thin is {thin}, but only {steps - warmup} steps follow the warmup; nothing would be kept")


@contextmanager
def open_store(run_dir: str | Path | RunStore | None) -> Iterator[RunStore | None]:
    """The store of a folder, locked inside the block; a store that is given is used as it is."""
    if run_dir is None or isinstance(run_dir, RunStore):
        yield run_dir
        return
    with RunStore(run_dir) as store:
        store.pin("env.json", {"versions": versions()})
        yield store
