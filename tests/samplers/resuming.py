"""Runs that are stopped and gone on with, and what is compared of them. As a script: the same in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplers import Annealed, Interrupted, MetropolisHastings, RunStore, Tempered, Trace, anneal, linear, sample
from samplers.storage.tensor_file import digest, load_record
from samplers.testing.cases import CASES
from tests.samplers.doubles import KERNELS, Walk, starts, tilt

__all__ = ["RUNS", "SHARD", "STEPS", "folder_rows", "interrupted", "kept_in", "signature", "stop_at"]

STEPS, CHAINS, SHARD = 11, 5, 3


class Worded:
    """An energy with an attribute whose order depends on the hash seed."""

    name = "worded"

    def __init__(self, words: frozenset[str]) -> None:
        self.words = words

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return tilt(x)

    def __call__(self, x: Tensor) -> Tensor:
        return self.values(x)


def bowl(x: Tensor) -> Tensor:
    return x.square().sum(dim=1)


def _sampled(kernel: Any, energy: Any, x0: Tensor) -> Callable[..., Trace]:
    def run(**options: Any) -> Trace:
        options = {"steps": STEPS, "seed": 7, "shard_size": SHARD, "progress": False} | options
        return sample(kernel, energy, x0, **options)

    return run


def _annealed(kernel: Any, energy: Any, x0: Tensor) -> Callable[..., Annealed]:
    def run(**options: Any) -> Annealed:
        options = {"steps": STEPS, "seed": 7, "shard_size": SHARD, "progress": False} | options
        return anneal(kernel, energy, x0, schedule=linear(2.0, 0.0), **options)

    return run


def _case_starts(case: Any) -> Tensor:
    return case.target.states[torch.arange(CHAINS) % len(case.target)]


_plane = torch.linspace(-2, 2, 2 * CHAINS, dtype=torch.float64).reshape(CHAINS, 2)
_hot_walk = Tempered(MetropolisHastings(Walk(0.7)), [1.0, 0.3])

RUNS: dict[str, Callable[..., Any]] = {
    **{case.name: _sampled(case.kernel, case.target.energy, _case_starts(case)) for case in CASES},
    **{name: _sampled(make(), tilt, starts(CHAINS)) for name, make in KERNELS.items()},
    "walk": _sampled(MetropolisHastings(Walk(0.7)), bowl, _plane),
    "walk, float32": _sampled(MetropolisHastings(Walk(0.7)), bowl, _plane.float()),
    "tempered walk": _sampled(_hot_walk, bowl, _plane),
    "worded": _sampled(KERNELS["metropolis"](), Worded(frozenset(map(str, range(50)))), starts(CHAINS)),
    **{f"anneal {name}": _annealed(make(), tilt, starts(CHAINS)) for name, make in KERNELS.items()},
    "anneal tempered walk": _annealed(_hot_walk, bowl, _plane),
}


def kept_in(run: Callable[..., Any], folder: Path, *, every: int = 3, **options: Any) -> Any:
    with RunStore(folder, every=every) as store:
        return run(run_dir=store, **options)


def stop_at(done: int) -> Callable[..., None]:
    """An observer that asks each shard to stop once ``done`` steps are done."""

    def stop(step: int, state: Any, info: Any) -> None:
        if step + 1 == done:
            signal.raise_signal(signal.SIGINT)

    return stop


def interrupted(run: Callable[..., Any], folder: Path, *, at: int, **options: Any) -> Any:
    """The result of a run each of whose shards was stopped after ``at`` steps."""
    for stops in range(3):
        try:
            result = kept_in(run, folder, observers=[stop_at(at)], **options)
        except Interrupted as stopped:
            assert (stopped.signal, stopped.folder, stopped.done) == (signal.SIGINT, folder, at)  # noqa: PT017
        else:
            assert stops == 2
            return result
    raise AssertionError("stopped more often than it has shards")


def signature(result: Trace | Annealed) -> dict[str, Any]:
    """Digests of every tensor of a result, by name, and its moves: equal only if all bytes are."""
    parts = {name: digest({name: tensor}) for name, tensor in _tensors("", vars(result))}
    return parts | {"moves": repr(getattr(result, "moves", None))}


def folder_rows(folder: Path, shard: int = 0) -> dict[str, str]:
    """Digests of the committed rows of a shard, read from the chunk files alone."""
    files = sorted((folder / "shards" / f"{shard:05d}").glob("[0-9]*.safetensors"))
    chunks = [load_record(path).tensors for path in files]
    return {name: digest({"": torch.cat([chunk[name] for chunk in chunks])}) for name in chunks[0]}


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}/{key}", part)
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from _tensors(f"{name}/{index}", part)


def main(folder: Path, threads: int, at: int | None) -> None:
    """Every run in a folder of its own: stopped ``at`` that step, or to its end, with the signatures printed."""
    torch.set_num_threads(threads)
    os.fsync = lambda descriptor: None  # no power fails here
    ended = {}
    for number, (name, run) in enumerate(RUNS.items()):
        try:
            observers = [] if at is None else [stop_at(at)]
            ended[name] = signature(kept_in(run, folder / str(number), observers=observers))
        except Interrupted:
            pass
    print(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
