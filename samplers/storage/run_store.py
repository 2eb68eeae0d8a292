"""The folder of a run, which survives being killed at any instant.

::

    run/  mcmc-text.json                says that the folder is a run; nothing in a folder without it is touched
          config.json env.json ...      pinned: written once, compared when the run goes on
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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

import torch
from torch import Tensor

from samplers.errors import InvalidInput, StoreError
from samplers.storage.atomic_files import (
    append_line,
    exists,
    is_partial,
    make_folder,
    read_bounded,
    sweep,
    write_atomically,
)
from samplers.storage.folder_lock import FolderLock, InUse
from samplers.storage.tensor_file import Record, damaged, digest, load_record, save_record

__all__ = ["Meter", "RunStore", "ShardStore"]

Meter = Callable[[], Mapping[str, float]]
"""Running totals, such as seconds and forward passes, that are kept with each commit."""

JSON_LIMIT = 2**24  # bytes
LARGEST_TOTAL = 2.0**63
PUT_BACK = "put it back from a copy, or start anew in another folder"
LOCK, OWNER, EVENTS, SHARDS = "lock", "owner.json", "events.jsonl", "shards"
FINGERPRINT = "fingerprint.json"
MARK, FORMAT = "mcmc-text.json", {"format": "mcmc-text run", "version": 1}
# Runs of before the mark: all of these fields are in one of these files.
UNMARKED = {"config.json": {"experiment", "energy_sha256"}, FINGERPRINT: {"energy", "seed"}, "env.json": {"versions"}}
LONGEST_NAME = 255  # of a host


class RunStore:
    """Holds the run's lock while entered. ``every``: steps between commits; no part of what a run means.

    ``allow_version_change``: whether a run may resume with other versions of the libraries that its fingerprint names.

    Raises ``InvalidInput`` if the folder cannot be written to, holds something else, or is in use by another process;
    ``StoreError`` if the mark that makes it a run is damaged. Nothing in it is changed then.
    """

    def __init__(
        self, path: str | Path, *, every: int = 100, meter: Meter | None = None, allow_version_change: bool = False
    ) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; commit after at least 1 step")
        if "\0" in str(path):
            raise InvalidInput(f"{str(path)!r} is no name of a folder; choose another")
        self.path, self.every, self.meter = Path(path), every, meter or dict
        self.allow_version_change = allow_version_change
        self._lock: FolderLock | None = None

    def __enter__(self) -> RunStore:
        try:
            make_folder(self.path)
            self._check_ours()
            lock = FolderLock(self.path / LOCK)
        except InUse as error:
            raise InvalidInput(
                f"{str(self.path)!r} is in use by {self._owner()}; wait for it or choose another folder"
            ) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidInput(f"{str(self.path)!r} cannot be written to ({reason}); choose another folder") from error
        self._lock = lock
        try:
            for folder in (self.path, *self._shard_folders()):
                sweep(folder)
            if not exists(self.path / MARK):
                self._write_json(MARK, FORMAT)
            self._write_json(OWNER, {"pid": os.getpid(), "host": socket.gethostname()})
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None, "left without being entered"
        with suppress(OSError):  # it is for people, and stale without its lock
            (self.path / OWNER).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    @property
    def descriptor(self) -> int | None:
        """Of the lock. A process that has inherited it keeps the run in use for as long as it lives."""
        return None if self._lock is None else self._lock.descriptor

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
        that a warning. ``free`` facts may differ; the file then gets their new values. Raises ``StoreError`` where the
        file is missing although the run has begun to draw.
        """
        path = self.path / name
        facts = json.loads(json.dumps(facts))
        drawing = exists(self.path / SHARDS)  # asked first: another worker may be about to write the file, and to draw
        if not exists(path):
            if drawing:
                raise StoreError(f"{str(path)!r} is missing, which was there before the first draw; {PUT_BACK}")
            self._write_json(name, facts)
            return False
        stored = self.read(name)
        self.compare(name, stored, facts, free=free, lenient=lenient)
        if not lenient and stored != facts:
            self._write_json(name, facts)
        return True

    def compare(
        self,
        name: str,
        stored: Mapping[str, Any],
        given: Mapping[str, Any],
        *,
        free: Collection[str] = (),
        lenient: bool = False,
    ) -> None:
        """Raise ``InvalidInput`` for the first fact ``stored`` in the file ``name`` that is not the ``given`` one.

        Arguments as in ``pin``.
        """
        for field, was, now in _differences(stored, given):
            if field in free:
                continue
            change = f"{str(self.path / name)!r}: {_short(field, 200)[1:-1]} was {_short(was)} and is now {_short(now)}"
            if not lenient:
                raise InvalidInput(f"{change}; give the stored value, or another folder")
            warnings.warn(f"{change}; the draws may differ from those of an uninterrupted run", stacklevel=3)

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
        return ShardStore(self, index)

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
        """Raise ``InvalidInput`` or ``StoreError`` for a folder that holds anything but a run; touch nothing in it."""
        if exists(self.path / MARK):
            if self.read(MARK) != FORMAT:
                raise StoreError(damaged(self.path / MARK))
            return
        names = {path.name for path in self.path.iterdir() if not is_partial(path)}
        killed_before_the_mark = names == {LOCK} and (self.path / LOCK).stat().st_size == 0
        unmarked = any(self._says_of_itself(name, fields) for name, fields in UNMARKED.items())
        if names and not killed_before_the_mark and not unmarked:
            raise InvalidInput(f"{str(self.path)!r} holds files that are no run; choose another folder")

    def _says_of_itself(self, name: str, fields: set[str]) -> bool:
        """Whether the file ``name`` is there and has the ``fields`` that this program writes into it."""
        try:
            return fields <= self.read(name).keys()
        except StoreError:
            return False

    def _owner(self) -> str:
        try:
            owner = self.read(OWNER)
        except StoreError:  # it is just being written
            return "another process"
        pid, host = owner.get("pid"), str(owner.get("host"))
        known = type(pid) is int and host.isprintable() and len(host) <= LONGEST_NAME
        return f"process {pid} on {host}" if known else "another process"

    def _shard_folders(self) -> list[Path]:
        shards = self.path / SHARDS
        return [] if shards.is_symlink() else [path for path in shards.glob("*") if not path.is_symlink()]

    def _write_json(self, name: str, facts: Mapping[str, Any]) -> None:
        told = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
        # Half a character, as broken arguments have, is no UTF-8; its escape is JSON.
        write_atomically(self.path / name, told.encode(errors="backslashreplace"))


class ShardStore:
    """What one shard has drawn so far. ``load`` first; then ``commit`` as it goes on."""

    def __init__(self, store: RunStore, index: int) -> None:
        self.path = store.path / SHARDS / f"{index:05d}"
        self.done = self.rows_to = 0
        self._store, self._index, self._meter = store, index, store.meter
        self._meter_before: dict[str, float] = {}
        self._meter_at_load = dict(self._meter())

    @property
    def record_path(self) -> Path:
        return self.path / "commit.safetensors"

    @cached_property
    def identity(self) -> str:
        """Of this shard of this run: files of another one have another and are no use here."""
        return digest({}, json.dumps([self._store.read(FINGERPRINT), self._index], sort_keys=True))

    def due(self, done: int) -> bool:
        """Whether to commit once ``done`` steps are done."""
        return done % self._store.every == 0

    def load(self) -> Record | None:
        """The commit record, whose ``facts["done"]`` is the number of steps done; ``None`` if nothing is committed."""
        for folder in (self.path.parent, self.path):
            if folder.is_symlink():
                raise StoreError(
                    f"{str(folder)!r} is a symbolic link, and files are kept in the run's own folder alone"
                )
        later = any(path != self._chunk(0) for path in self.path.glob("[0-9]*"))  # asked first, as it may be growing
        if not exists(self.record_path):
            if later:
                raise StoreError(f"{str(self.record_path)!r} is missing; {PUT_BACK}")
            return None  # a first chunk may be there, of a run killed before its first commit
        record = self._checked(self.record_path)
        facts = record.facts
        done, rows_to, meter = (facts.get(name) for name in ("done", "rows_to", "meter"))
        if not (_count(done) and _count(rows_to) and rows_to <= done) or not _totals_only(meter):
            raise StoreError(damaged(self.record_path))
        self.done, self.rows_to, self._meter_before = done, rows_to, meter
        self._meter_at_load = dict(self._meter())
        return record

    def commit(
        self, done: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], rows: Mapping[str, Tensor]
    ) -> None:
        """Make ``done`` steps hold: first the ``rows`` drawn since the last commit, then all that the next step needs.

        Raises ``StoreError``; the last commit then still holds.
        """
        try:
            make_folder(self.path)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be made ({error.strerror})") from error
        rows_to = self.rows_to
        if any(len(row) for row in rows.values()):
            save_record(self._chunk(rows_to), rows, {"of": self.identity, "start": rows_to, "end": done})
            rows_to = done
        told = {**facts, "of": self.identity, "done": done, "rows_to": rows_to, "meter": self._totals()}
        save_record(self.record_path, tensors, told)
        self.done, self.rows_to = done, rows_to

    def rows(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All committed rows, in order, on the CPU. ``like`` gives for each name an empty tensor of its type and shape.

        Raises ``StoreError`` with the name of a chunk that is missing, damaged or of another run.
        """
        parts: dict[str, list[Tensor]] = {name: [empty.cpu()] for name, empty in like.items()}
        for chunk in self.chunks(like):
            for name, part in chunk.items():
                parts[name].append(part)
        return {name: torch.cat(part) for name, part in parts.items()}

    def chunks(self, like: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """The committed rows, a chunk at a time; arguments and errors as in ``rows``."""
        start = 0
        while start < self.rows_to:
            path = self._chunk(start)
            tensors, facts = self._checked(path)
            end = facts.get("end")
            if facts.get("start") != start or not _count(end) or not start < end <= self.rows_to:
                raise StoreError(damaged(path))
            if not _rows_like(tensors, like, at_most=end - start):
                raise StoreError(damaged(path))
            yield tensors
            start = end

    def _checked(self, path: Path) -> Record:
        record = load_record(path)
        if record.facts.get("of") != self.identity:
            raise StoreError(f"{str(path)!r} is of another run, or of another part of it; {PUT_BACK}")
        return record

    def _chunk(self, start: int) -> Path:
        return self.path / f"{start:08d}.safetensors"

    def _totals(self) -> dict[str, float]:
        now = self._meter()
        return {
            name: self._meter_before.get(name, 0) + value - self._meter_at_load.get(name, 0)
            for name, value in now.items()
        }


def _count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _totals_only(meter: Any) -> TypeGuard[dict[str, float]]:
    """Whether it is a mapping to numbers that can be added up."""
    return isinstance(meter, dict) and all(type(n) in (int, float) and 0 <= n < LARGEST_TOTAL for n in meter.values())


def _rows_like(rows: Mapping[str, Tensor], like: Mapping[str, Tensor], *, at_most: int) -> bool:
    """Whether ``rows`` are as many of each name, of the types and shapes of ``like``, and without NaN."""
    return (
        rows.keys() == like.keys()
        and all(
            rows[name].dtype == empty.dtype and rows[name].shape[1:] == empty.shape[1:] for name, empty in like.items()
        )
        and len({len(part) for part in rows.values()}) == 1
        and 0 < len(next(iter(rows.values()))) <= at_most
        and not any(bool(part.isnan().any()) for part in rows.values())
    )


def _differences(stored: Any, given: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, stored and given value of what differs; ``None`` for what is not there."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for key in [*given, *(key for key in stored if key not in given)]:
            yield from _differences(stored.get(key), given.get(key), f"{name}.{key}" if name else key)
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given) and _nested(given):
        for index, pair in enumerate(zip(stored, given, strict=True)):
            yield from _differences(*pair, f"{name}[{index}]")
    elif json.dumps(stored, sort_keys=True) != json.dumps(given, sort_keys=True):  # 1 is not 1.0; NaN is as it was
        yield name, stored, given


def _nested(values: list[Any]) -> bool:
    return any(isinstance(value, Mapping | list) for value in values)


def _short(value: Any, length: int = 80) -> str:
    """On one line, fit to be printed whatever it is."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
