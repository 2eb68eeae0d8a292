"""The folder of a run. It stays valid if the process is killed at any time.

::

    run/  mcmc-text.json                marks the folder as a run; in a folder without it nothing is touched
          config.json env.json ...      pinned: written once, compared when the run resumes
          shards/00000/00000000.safetensors   a chunk: rows drawn from that step on, never changed once committed
          shards/00000/commit.safetensors     the commit record, written after its chunk: only what it names is valid
          events.jsonl lock owner.json

A chunk at or after the committed step was left by a process that was killed before its commit, and is overwritten.
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
"""Returns running totals, such as seconds and forward passes, which each commit stores."""

JSON_LIMIT = 2**24  # bytes
LARGEST_TOTAL = 2.0**63
PUT_BACK = "restore it from a copy, or start again in another folder"
LOCK, OWNER, EVENTS, SHARDS = "lock", "owner.json", "events.jsonl", "shards"
FINGERPRINT = "fingerprint.json"
MARK, FORMAT = "mcmc-text.json", {"format": "mcmc-text run", "version": 2}
# Runs of version 0.1.0, which wrote no mark, have one of these files, with these fields.
UNMARKED = {"config.json": {"experiment", "energy_sha256"}, FINGERPRINT: {"energy", "seed"}, "env.json": {"versions"}}
OTHER_DRAWS = "in which a seed means other draws; resume it with that version, or choose another folder"
LONGEST_NAME = 255  # of a host


class RunStore:
    """A run's folder, locked inside a ``with`` block.

    ``every``: steps between commits; it changes no draw. ``meter``: running totals to store with each commit.
    ``allow_version_change``: whether a run may resume with other versions of the libraries that its fingerprint names.

    Raises ``InvalidInput`` if the folder cannot be written to, holds something else, or is in use by another process;
    ``StoreError`` if the file that marks it as a run is damaged. The folder is then unchanged.
    """

    def __init__(
        self, path: str | Path, *, every: int = 100, meter: Meter | None = None, allow_version_change: bool = False
    ) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; give at least 1 step")
        if "\0" in str(path):
            raise InvalidInput(f"{str(path)!r} is not a valid name of a folder; choose another")
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
        with suppress(OSError):  # it is informative only, and without meaning once the lock is released
            (self.path / OWNER).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    @property
    def descriptor(self) -> int | None:
        """File descriptor of the lock. A process that inherits it keeps the run locked until it ends."""
        return None if self._lock is None else self._lock.descriptor

    def pin(
        self,
        name: str,
        facts: Mapping[str, Any],
        *,
        free: Collection[str] = (),
        lenient: bool = False,
    ) -> bool:
        """Write ``facts`` as the JSON file ``name``, or compare them with the file; returns whether it existed.

        Raises ``InvalidInput`` for the first fact that differs, with the stored and the given value; with ``lenient``
        that is a warning. Facts named in ``free`` may differ; the file then gets their new values. Raises
        ``StoreError`` if the file is missing although the run has draws.
        """
        path = self.path / name
        facts = json.loads(json.dumps(facts))
        drawing = exists(self.path / SHARDS)  # before the next line: another worker may write the file, and then draw
        if not exists(path):
            if drawing:
                raise StoreError(f"{str(path)!r} is missing, although the run has draws; {PUT_BACK}")
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
        """The JSON object in the file ``name``. Raises ``StoreError`` if there is none."""
        path = self.path / name
        try:
            facts = json.loads(read_bounded(path, JSON_LIMIT))
        except (ValueError, RecursionError) as error:
            raise StoreError(damaged(path)) from error
        if not isinstance(facts, dict):
            raise StoreError(damaged(path))
        return facts

    def shard(self, index: int) -> ShardStore:
        """The files of one shard."""
        return ShardStore(self, index)

    def totals(self, shards: int) -> dict[str, float]:
        """The meter's totals over all shards and over all processes that worked on them."""
        sums: dict[str, float] = {}
        for index in range(shards):
            if (saved := self.shard(index).load()) is not None:
                for name, value in saved.facts["meter"].items():
                    sums[name] = sums.get(name, 0) + value
        return sums

    def log(self, event: str, **facts: Any) -> None:
        """Append an event to ``events.jsonl``, for people to read."""
        append_line(self.path / EVENTS, json.dumps({"event": event, **facts}))

    def _check_ours(self) -> None:
        """Raise ``InvalidInput`` or ``StoreError`` for a folder that holds anything but a run. Changes nothing."""
        if exists(self.path / MARK):
            mark = self.read(MARK)
            if mark.keys() != FORMAT.keys() or mark["format"] != FORMAT["format"]:
                raise StoreError(damaged(self.path / MARK))
            if mark["version"] != FORMAT["version"]:
                raise InvalidInput(f"{str(self.path)!r} holds a run of another version of this program, {OTHER_DRAWS}")
            return
        names = {path.name for path in self.path.iterdir() if not is_partial(path)}
        killed_before_the_mark = names == {LOCK} and (self.path / LOCK).stat().st_size == 0
        unmarked = any(self._has_fields(name, fields) for name, fields in UNMARKED.items())
        if unmarked:
            raise InvalidInput(
                f"{str(self.path)!r} holds a run without {MARK}, as version 0.1.0 left them, {OTHER_DRAWS}"
            )
        if names and not killed_before_the_mark:
            raise InvalidInput(f"{str(self.path)!r} holds files that are not of a run; choose another folder")

    def _has_fields(self, name: str, fields: set[str]) -> bool:
        """Whether there is a JSON file ``name`` that has the ``fields``."""
        try:
            return fields <= self.read(name).keys()
        except StoreError:
            return False

    def _owner(self) -> str:
        try:
            owner = self.read(OWNER)
        except StoreError:  # it is being written
            return "another process"
        pid, host = owner.get("pid"), str(owner.get("host"))
        known = type(pid) is int and host.isprintable() and len(host) <= LONGEST_NAME
        return f"process {pid} on {host}" if known else "another process"

    def _shard_folders(self) -> list[Path]:
        shards = self.path / SHARDS
        return [] if shards.is_symlink() else [path for path in shards.glob("*") if not path.is_symlink()]

    def _write_json(self, name: str, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
        # A lone surrogate, as in broken arguments, is not UTF-8, but its escape is JSON.
        write_atomically(self.path / name, text.encode(errors="backslashreplace"))


class ShardStore:
    """The files of one shard: call ``load`` first, then ``commit`` as the shard is run."""

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
        """Digest of the run's fingerprint and the shard's number, which every file of the shard holds."""
        return digest({}, json.dumps([self._store.read(FINGERPRINT), self._index], sort_keys=True))

    def due(self, done: int) -> bool:
        """Whether to commit after ``done`` steps."""
        return done % self._store.every == 0

    def load(self) -> Record | None:
        """The commit record; ``None`` if there is no commit. Sets ``done``, the number of steps committed."""
        for folder in (self.path.parent, self.path):
            if folder.is_symlink():
                raise StoreError(f"{str(folder)!r} is a symbolic link; a run has its files in its own folder only")
        # Before the next line, as another process may be writing.
        later = any(path != self._chunk(0) for path in self.path.glob("[0-9]*"))
        if not exists(self.record_path):
            if later:
                raise StoreError(f"{str(self.record_path)!r} is missing; {PUT_BACK}")
            return None  # there may be a first chunk, of a process that was killed before the first commit
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
        """Commit ``done`` steps: the ``rows`` since the last commit, then the ``tensors`` that the next step needs.

        Raises ``StoreError``; the last commit then stays valid.
        """
        try:
            make_folder(self.path)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be created ({error.strerror})") from error
        rows_to = self.rows_to
        if any(len(row) for row in rows.values()):
            save_record(self._chunk(rows_to), rows, {"of": self.identity, "start": rows_to, "end": done})
            rows_to = done
        facts = {**facts, "of": self.identity, "done": done, "rows_to": rows_to, "meter": self._totals()}
        save_record(self.record_path, tensors, facts)
        self.done, self.rows_to = done, rows_to

    def rows(self, empty: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All committed rows, in order, on the CPU. ``empty`` has for each name a tensor of no rows.

        Raises ``StoreError`` for a chunk that is missing, damaged, of another run, or of other types and shapes.
        """
        parts: dict[str, list[Tensor]] = {name: [tensor.cpu()] for name, tensor in empty.items()}
        for chunk in self.chunks(empty):
            for name, part in chunk.items():
                parts[name].append(part)
        return {name: torch.cat(part) for name, part in parts.items()}

    def chunks(self, empty: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """The committed rows chunk by chunk; argument and errors as in ``rows``."""
        start = 0
        while start < self.rows_to:
            path = self._chunk(start)
            tensors, facts = self._checked(path)
            end = facts.get("end")
            if facts.get("start") != start or not _count(end) or not start < end <= self.rows_to:
                raise StoreError(damaged(path))
            if not _are_rows(tensors, empty, at_most=end - start):
                raise StoreError(damaged(path))
            yield tensors
            start = end

    def _checked(self, path: Path) -> Record:
        record = load_record(path)
        if record.facts.get("of") != self.identity:
            raise StoreError(f"{str(path)!r} is of another run, or of another shard; {PUT_BACK}")
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
    """Whether it maps names to numbers that can be added up."""
    return isinstance(meter, dict) and all(type(n) in (int, float) and 0 <= n < LARGEST_TOTAL for n in meter.values())


def _are_rows(rows: Mapping[str, Tensor], empty: Mapping[str, Tensor], *, at_most: int) -> bool:
    """Whether ``rows`` have the names, types and shapes of ``empty``, equal numbers of rows, and no NaN."""
    return (
        rows.keys() == empty.keys()
        and all(rows[name].dtype == one.dtype and rows[name].shape[1:] == one.shape[1:] for name, one in empty.items())
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
    """JSON on one line, printable and cut to ``length`` characters."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
