"""The folder of a run, which survives being killed at any instant.

::

    run/  config.json env.json ...      pinned: written once, compared when the run goes on
          shards/00000/00000000.safetensors   rows drawn from that step on: a chunk, never changed once committed
          shards/00000/commit.safetensors     the commit record, written after its chunk: what holds is what it says
          events.jsonl lock owner.json

A chunk at or beyond the committed step belongs to a run that was killed before its commit, and is written again.
"""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from samplers.errors import InvalidInput, StoreError
from samplers.files import PARTIAL, append_line, read_bounded, write_atomically
from samplers.records import Record, damaged, load_record, save_record

__all__ = ["Meter", "RunStore", "ShardStore"]

Meter = Callable[[], Mapping[str, float]]
"""Running totals, such as seconds and forward passes, that are kept with each commit."""

JSON_LIMIT = 2**24  # bytes
LOCK, OWNER, EVENTS = "lock", "owner.json", "events.jsonl"
PINNED_FIRST = ("config.json", "fingerprint.json")  # one of them is there in every run that has begun


class RunStore:
    """Holds the run's lock while entered. ``every``: steps between commits; no part of what a run means.

    Raises ``InvalidInput`` if the folder cannot be written to, holds something else, or is in use by another process.
    """

    def __init__(self, path: str | Path, *, every: int = 100, meter: Meter | None = None) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; commit after at least 1 step")
        self.path, self.every, self.meter = Path(path), every, meter or dict
        self._lock: FileLock | None = None

    def __enter__(self) -> RunStore:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InvalidInput(
                f"{str(self.path)!r} is in use by {self._owner()}; wait for it or choose another folder"
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInput(f"{str(self.path)!r} cannot be written to ({reason}); choose another folder") from error
        self._lock = lock
        try:
            self._write_json(OWNER, {"pid": os.getpid(), "host": socket.gethostname()})
        except StoreError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None, "left without being entered"
        (self.path / OWNER).unlink(missing_ok=True)
        self._lock.release()

    def pin(
        self,
        name: str,
        facts: Mapping[str, Any],
        *,
        free: Collection[str] = (),
        lenient: bool = False,
    ) -> bool:
        """Write ``facts`` as the JSON file ``name``, or compare them with those it has: true if it was there.

        Raises ``InvalidInput`` for the first fact that differs, with the stored and the given value; ``lenient`` makes
        that a warning. ``free`` facts may differ; the file then gets their new values.
        """
        path = self.path / name
        facts = json.loads(json.dumps(facts))
        if not path.exists():
            self._write_json(name, facts)
            return False
        stored = self.read(name)
        for field, (was, now) in _differences(stored, facts).items():
            if field in free:
                continue
            told = f"{str(path)!r}: {field} was {_short(was)} and is now {_short(now)}"
            if not lenient:
                raise InvalidInput(f"{told}; give the stored value, or another folder")
            warnings.warn(f"{told}; the draws may differ from those of an uninterrupted run", stacklevel=2)
        if not lenient and stored != facts:
            self._write_json(name, facts)
        return True

    def read(self, name: str) -> dict[str, Any]:
        """A JSON object in the folder. Raises ``StoreError`` if there is none or it cannot be one."""
        path = self.path / name
        try:
            facts = json.loads(read_bounded(path, JSON_LIMIT))
        except (ValueError, RecursionError) as error:
            raise StoreError(damaged(path)) from error
        if not isinstance(facts, dict):
            raise StoreError(damaged(path))
        return facts

    def shard(self, index: int) -> ShardStore:
        return ShardStore(self.path / "shards" / f"{index:05d}", self.every, self.meter)

    def totals(self, shards: int) -> dict[str, float]:
        """The meter's totals over all shards and all the processes that ever worked on them."""
        sums: dict[str, float] = {}
        for index in range(shards):
            if (saved := self.shard(index).load()) is not None:
                for name, value in saved.facts["meter"].items():
                    sums[name] = sums.get(name, 0) + value
        return sums

    def log(self, event: str, **facts: Any) -> None:
        """A line for people, of what happened to the run."""
        append_line(self.path / EVENTS, json.dumps({"event": event, **facts}))

    def _check_ours(self) -> None:
        names = {path.name for path in self.path.iterdir()}
        made = {name for name in names if not name.endswith(PARTIAL)} - {LOCK, OWNER, EVENTS}
        if made and not made.intersection(PINNED_FIRST):
            raise InvalidInput(f"{str(self.path)!r} holds files that are no run; choose another folder")

    def _owner(self) -> str:
        try:
            owner = self.read(OWNER)
        except StoreError:  # it is just being written
            return "another process"
        return f"process {owner.get('pid')} on {owner.get('host')}"

    def _write_json(self, name: str, facts: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())


class ShardStore:
    """What one shard has drawn so far. ``load`` first; then ``commit`` as it goes on."""

    def __init__(self, path: Path, every: int, meter: Meter) -> None:
        self.path, self.every, self.meter = path, every, meter
        self.done = self.rows_to = 0
        self._meter_before: dict[str, float] = {}
        self._meter_at_load = dict(meter())

    @property
    def record_path(self) -> Path:
        return self.path / "commit.safetensors"

    def due(self, done: int) -> bool:
        """Whether to commit once ``done`` steps are done."""
        return done % self.every == 0

    def load(self) -> Record | None:
        """The commit record, whose ``facts["done"]`` is the number of steps done; ``None`` if nothing is committed."""
        if not self.record_path.exists():
            return None
        record = load_record(self.record_path)
        facts = record.facts
        counts = [facts.get("done"), facts.get("rows_to")]
        meter = facts.get("meter")
        if (
            not all(type(count) is int and count >= 0 for count in counts)
            or not isinstance(meter, dict)
            or not all(type(value) in (int, float) for value in meter.values())
        ):
            raise StoreError(damaged(self.record_path))
        self.done, self.rows_to, self._meter_before = facts["done"], facts["rows_to"], meter
        self._meter_at_load = dict(self.meter())
        return record

    def commit(
        self, done: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], rows: Mapping[str, Tensor]
    ) -> None:
        """Make ``done`` steps hold: first the ``rows`` drawn since the last commit, then all that the next step needs.

        Raises ``StoreError``; the last commit then still holds.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be made ({error.strerror})") from error
        rows_to = self.rows_to
        if any(len(row) for row in rows.values()):
            save_record(self._chunk(rows_to), rows, {"end": done})
            rows_to = done
        save_record(self.record_path, tensors, {**facts, "done": done, "rows_to": rows_to, "meter": self._totals()})
        self.done, self.rows_to = done, rows_to

    def rows(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All committed rows, in order. ``like`` gives for each name an empty tensor of its type and row shape.

        Raises ``StoreError`` with the name of a chunk that is missing, damaged or of another run.
        """
        parts: dict[str, list[Tensor]] = {name: [empty] for name, empty in like.items()}
        start = 0
        while start < self.rows_to:
            path = self._chunk(start)
            record = load_record(path)
            end = record.facts.get("end")
            if type(end) is not int or not start < end <= self.rows_to or not _alike(record.tensors, like):
                raise StoreError(damaged(path))
            for name, part in record.tensors.items():
                parts[name].append(part)
            start = end
        return {name: torch.cat(part) for name, part in parts.items()}

    def _chunk(self, start: int) -> Path:
        return self.path / f"{start:08d}.safetensors"

    def _totals(self) -> dict[str, float]:
        now = self.meter()
        return {
            name: self._meter_before.get(name, 0) + value - self._meter_at_load.get(name, 0)
            for name, value in now.items()
        }


def _alike(rows: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> bool:
    return rows.keys() == like.keys() and all(
        rows[name].dtype == empty.dtype and rows[name].shape[1:] == empty.shape[1:] for name, empty in like.items()
    )


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], above: str = "") -> dict[str, tuple[Any, Any]]:
    """Stored and given value by dotted name, where they differ; ``None`` for one that is not there."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in [*given, *(name for name in stored if name not in given)]:
        was, now = stored.get(name), given.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found |= _differences(was, now, f"{above}{name}.")
        elif was != now:
            found[f"{above}{name}"] = was, now
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
