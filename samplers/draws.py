"""Independent draws in batches, kept in a run's folder where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplers.driver import opened
from samplers.errors import Interrupted, StoreError
from samplers.interrupts import Stop, stop_signals
from samplers.records import damaged
from samplers.store import RunStore, ShardStore

__all__ = ["KeptDraws", "kept_draws"]

RNG, NOTHING = "rng", "nothing/"


class KeptDraws:
    """``done`` trials and the ``rows`` that they gave, those of earlier processes included."""

    def __init__(self, rng: torch.Generator, files: ShardStore | None, stop: Stop) -> None:
        self.done, self._rng, self._files, self._stop = 0, rng, files, stop
        self._parts: list[dict[str, Tensor]] = []
        if files and (saved := files.load()):
            self.done = files.done
            nothing = {n.removeprefix(NOTHING): t for n, t in saved.tensors.items() if n.startswith(NOTHING)}
            try:
                rng.set_state(saved.tensors[RNG])
                self._parts = [{n: t.to(saved.facts["device"]) for n, t in files.rows(nothing).items()}]
            except (KeyError, TypeError, RuntimeError) as error:
                raise StoreError(damaged(files.record_path)) from error

    @property
    def rows(self) -> dict[str, Tensor]:
        """By name, ``[rows, ...]``, of all batches together."""
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}

    @property
    def count(self) -> int:
        return sum(len(next(iter(part.values()))) for part in self._parts)

    def add(self, trials: int, rows: Mapping[str, Tensor]) -> None:
        """Keep a batch. Raises ``Interrupted`` after it where SIGINT or SIGTERM came."""
        self.done += trials
        self._parts.append(dict(rows))
        if self._files:
            nothing = {f"{NOTHING}{name}": part[:0] for name, part in rows.items()}
            device = str(next(iter(rows.values())).device)
            self._files.commit(self.done, {RNG: self._rng.get_state(), **nothing}, {"device": device}, rows)
            if stopped := self._stop():
                raise Interrupted(stopped, self._files.path.parents[1], self.done)


@contextmanager
def kept_draws(
    run_dir: str | Path | RunStore | None, fingerprint: Mapping[str, Any], rng: torch.Generator
) -> Iterator[KeptDraws]:
    """What there is so far. Raises as ``sample`` does for a folder that cannot be used or holds another run."""
    with opened(run_dir) as store, stop_signals(caught=store is not None) as stop:
        if store:
            store.pin("fingerprint.json", fingerprint)
        yield KeptDraws(rng, store.shard(0) if store else None, stop)
