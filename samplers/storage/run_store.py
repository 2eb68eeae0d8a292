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
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from samplers.errors import FolderInUse, InvalidInput, StoreError
from samplers.storage.atomic_files import (
    append_line,
    check_makeable,
    exists,
    is_partial,
    make_folder,
    read_bounded,
    sweep,
    write_atomically,
)
from samplers.storage.folder_lock import FolderLock, InUse
from samplers.storage.shard_store import PUT_BACK, SHARDS, Committed, Meter, ShardStore
from samplers.storage.tensor_file import damaged

__all__ = ["RunStore"]

JSON_LIMIT = 2**24  # bytes
LOCK, OWNER, EVENTS = "lock", "owner.json", "events.jsonl"
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
    ``is_state``: whether ``x [rows, ...]`` are states; what is read from the folder is checked with it.

    ``lazy``: a folder without a run is not touched before ``make``, which ``sample`` calls when the first step is about
    to run; what is pinned and logged until then is written there. Input that turns out to be bad thus leaves nothing.
    ``before_making`` is called before that. ``committed`` is called after each commit with the
    files that it has written.

    Raises ``InvalidInput`` if the folder cannot be written to, holds something else, or is in use by another process;
    ``StoreError`` if the file that marks it as a run is damaged. The folder is then unchanged.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every: int = 100,
        meter: Meter | None = None,
        allow_version_change: bool = False,
        is_state: Callable[[Tensor], bool] | None = None,
        lazy: bool = False,
    ) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; give at least 1 step")
        if "\0" in str(path):
            raise InvalidInput(f"{str(path)!r} is not a valid name of a folder; choose another")
        self.path, self.every, self.meter = Path(path), every, meter or dict
        self.allow_version_change, self.is_state, self.lazy = allow_version_change, is_state, lazy
        self._lock: FolderLock | None = None
        self._waiting: list[Callable[[], Any]] | None = None  # what to write once the folder is made
        self.before_making: Callable[[], Any] | None = None
        self.committed: Committed | None = None

    def __enter__(self) -> RunStore:
        if self.lazy and self._is_empty():
            self._waiting = []
        else:
            self._hold()
        return self

    def make(self) -> None:
        """Make and lock the folder, and write what was pinned and logged; nothing where that has been done.

        Raises ``InvalidInput`` where it cannot be made, or another process has begun a run in it meanwhile.
        """
        if self._waiting is None:
            return
        if self.before_making:
            self.before_making()
        if not self._is_empty():
            raise InvalidInput(
                f"another process has begun a run in {str(self.path)!r} meanwhile; choose another folder, or wait and "
                "give the same call again"
            )
        self._hold()
        waiting, self._waiting = self._waiting, None
        for write in waiting:
            write()

    @property
    def is_made(self) -> bool:
        """Whether the folder is there and held by this process."""
        return self._lock is not None

    def when_made(self, write: Callable[[], Any]) -> None:
        """Call ``write`` now, or when the folder is made."""
        if self._waiting is None:
            write()
        else:
            self._waiting.append(write)

    def _is_empty(self) -> bool:
        """Whether nothing is there, though a run can be; raises ``InvalidInput`` where none can."""
        try:
            if self.path.is_dir() and any(self.path.iterdir()):
                return False
            check_makeable(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def _unusable(self, error: OSError) -> InvalidInput:
        reason = error.strerror or str(error)
        return InvalidInput(f"{str(self.path)!r} cannot be written to ({reason}); choose another folder")

    def _hold(self) -> None:
        """Make the folder if it is missing, lock it, and mark it as a run."""
        try:
            make_folder(self.path)
            self._check_ours()
            lock = FolderLock(self.path / LOCK)
        except InUse as error:
            raise FolderInUse(
                f"{str(self.path)!r} is in use by {self._owner()}; wait for it or choose another folder"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is None:
            assert self._waiting is not None, "left without being entered"
            self._waiting = None
            return
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
        if self._waiting is not None:
            self._waiting.append(lambda: self.pin(name, facts, free=free, lenient=lenient))
            return False
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
        return ShardStore(
            self.path,
            index,
            every=self.every,
            meter=self.meter,
            read_fingerprint=lambda: self.read(FINGERPRINT),
            make=self.make,
            is_state=self.is_state,
            committed=self.committed,
        )

    def most_done(self) -> int:
        """The number of steps of the shard that has done the most."""
        shards = [self.shard(int(path.name)) for path in self._shard_folders() if path.name.isdecimal()]
        return max((shard.done for shard in shards if shard.load_facts()), default=0)

    def totals(self, shards: int) -> dict[str, float]:
        """The meter's totals over all shards and over all processes that worked on them."""
        sums: dict[str, float] = {}
        for index in range(shards):
            if (facts := self.shard(index).load_facts()) is not None:
                for name, value in facts["meter"].items():
                    sums[name] = sums.get(name, 0) + value
        return sums

    def log(self, event: str, **facts: Any) -> None:
        """Append an event to ``events.jsonl``, for people to read."""
        line = json.dumps({"event": event, **facts})
        self.when_made(lambda: append_line(self.path / EVENTS, line))

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
