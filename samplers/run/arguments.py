"""The arguments that ``sample`` and ``anneal`` share: what cannot be run is refused, a folder is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

from torch import Tensor

from samplers.errors import InvalidInput
from samplers.randomness import check_seed
from samplers.run.trace import versions
from samplers.storage.run_store import RunStore

__all__ = ["check_arguments", "check_counts", "open_store"]


def check_arguments(x0: Tensor, *, steps: int, warmup: int = 0, thin: int = 1, shard_size: int, seed: int) -> None:
    """Raise ``InvalidInput`` unless there is a chain with a state, and at least one draw of it would be kept."""
    check_seed(seed)
    if not isinstance(x0, Tensor):
        raise InvalidInput(f"x0 is {type(x0).__name__}; give a tensor whose first dimension is the chain")
    if x0.dim() == 0 or x0.numel() == 0:
        raise InvalidInput(f"x0 has shape {list(x0.shape)}; its first dimension is the chain, and none may be 0")
    check_counts(steps=steps, thin=thin, shard_size=shard_size)
    check_counts(warmup=warmup, least=0)
    if warmup >= steps:
        raise InvalidInput(f"warmup is {warmup} of {steps} steps; leave at least one step to keep")
    if thin > steps - warmup:
        raise InvalidInput(f"thin is {thin}, but only {steps - warmup} steps follow the warmup; nothing would be kept")


def check_counts(*, least: int = 1, **counts: int) -> None:
    """Raise ``InvalidInput`` for one that is no whole number of at least ``least``."""
    for name, value in counts.items():
        if not isinstance(value, Integral):
            raise InvalidInput(f"{name} is {value!r}; give a whole number")
        if value < least:
            raise InvalidInput(f"{name} is {value}; give at least {least}")


@contextmanager
def open_store(run_dir: str | Path | RunStore | None) -> Iterator[RunStore | None]:
    """The store of a folder, locked inside the block; a store that is given is used as it is."""
    if run_dir is None or isinstance(run_dir, RunStore):
        yield run_dir
        return
    with RunStore(run_dir, lazy=True) as store:
        store.pin("env.json", {"versions": versions()})
        yield store
