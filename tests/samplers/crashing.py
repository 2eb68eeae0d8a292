"""A run in a folder that dies at each of its file operations in turn, and the run that goes on after it. Linux only.

``python -m tests.samplers.crashing FOLDER RUN WAY [MUTANT]`` prints, as JSON, the kills after which something was
wrong, ``[number of the operation, problem]``, and how many kills there were. Processes are forked from one that has
imported torch and computed nothing, so a kill costs some 30 ms.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy.ctypeslib  # noqa: F401  (here once, and not in every child)
import safetensors.torch  # noqa: F401
import torch

from samplers import RunStore, anneal, linear, sample
from samplers.storage import atomic_files as files
from samplers.storage.shard_store import ShardStore
from tests.samplers.doubles import KERNELS, starts, tilt
from tests.samplers.resuming import folder_rows, signature

EVERY, STEPS = 2, 3
WAYS = {
    "kill": "before the operation, or in the middle of what is written",
    "power": "and the power is gone: what was not synced is not there, neither bytes nor names",
    "bytes": "and the power is gone: names have reached the disk, bytes that were not synced have not",
}


def run(name: str, folder: Path | None, **options: Any) -> Any:
    search = name.startswith("anneal ")
    kernel = KERNELS[name.removeprefix("anneal ")]()
    options |= {"steps": STEPS, "shard_size": 2, "seed": 3, "progress": False}
    call = (lambda **more: anneal(kernel, tilt, starts(3), schedule=linear(2.0, 0.0), **more)) if search else None
    call = call or (lambda **more: sample(kernel, tilt, starts(3), warmup=1, **more))
    if folder is None:
        return call(**options)
    with RunStore(folder, every=EVERY) as store:
        store.log("begun")
        return call(run_dir=store, **options)


class Disk:
    """Stands before ``os`` and counts; at operation ``last`` the process dies, and what a power cut loses is lost."""

    def __init__(self, way: str, last: int) -> None:
        self.way, self.left = way, last
        self.unsynced: set[str] = set()  # files whose bytes may be lost
        self.undo: list[tuple[str, Callable[[], Any]]] = []  # names that may be lost, by the folder to sync for them
        self.real = {name: getattr(os, name) for name in ("open", "fdopen", "fsync", "replace", "unlink", "mkdir")}
        for name in self.real:
            setattr(os, name, getattr(self, name))

    def count(self, half: Callable[[], Any] | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            for name, function in self.real.items():
                setattr(os, name, function)
            if half:
                half()
            if self.way == "power":
                for _, undo in reversed(self.undo):
                    undo()
            if self.way in ("power", "bytes"):
                for path in filter(os.path.exists, self.unsynced):
                    os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def open(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        self.count()
        if flags & os.O_CREAT and not os.path.lexists(path):
            self.undo.append((os.path.dirname(path), lambda: os.path.exists(path) and os.unlink(path)))
        return self.real["open"](path, flags, *rest, **options)

    def fdopen(self, descriptor: int, *rest: Any) -> Any:
        return File(self, _path(descriptor), self.real["fdopen"](descriptor, *rest))

    def fsync(self, descriptor: int) -> None:
        self.count()
        path = _path(descriptor)
        self.unsynced.discard(path)
        self.undo = [(folder, undo) for folder, undo in self.undo if folder != path]

    def replace(self, source: Any, target: Any) -> None:
        self.count()
        source, target = str(source), str(target)
        old = Path(target).read_bytes() if os.path.exists(target) else None
        self.undo.append((os.path.dirname(target), lambda: _put_back(Path(target), old)))
        if source in self.unsynced:
            self.unsynced.add(target)
        self.real["replace"](source, target)

    def unlink(self, path: Any, **options: Any) -> None:
        self.count()
        self.real["unlink"](path, **options)

    def mkdir(self, path: Any, *rest: Any, **options: Any) -> None:
        self.count()
        self.real["mkdir"](path, *rest, **options)
        self.undo.append((os.path.dirname(str(path)), lambda: shutil.rmtree(path, ignore_errors=True)))


class File:
    """Of what is written half may have come to the disk."""

    def __init__(self, disk: Disk, path: str, file: Any) -> None:
        self.disk, self.path, self.file = disk, path, file

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        def half() -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        self.disk.unsynced.add(self.path)
        self.disk.count(half)
        self.file.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.write(part)


def _path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _put_back(path: Path, old: bytes | None) -> None:
    if old is None:
        path.unlink(missing_ok=True)
    elif path.parent.exists():
        path.write_bytes(old)


def forked(work: Callable[[], Any]) -> tuple[int, list[Any]]:
    """Status of a child that does ``work``, and what it said before it ended: lines of JSON."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.dup2(writing, 1)
            status = work() or 0
        except BaseException as error:
            say([type(error).__name__, str(error)])
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = [json.loads(line) for line in told]
    return os.waitpid(child, 0)[1], lines


def say(what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def dying(name: str, folder: Path, way: str, last: int) -> None:
    """Tells each commit once it is promised to hold."""
    plain = ShardStore.commit

    def commit(self: ShardStore, done: int, *rest: Any) -> None:
        plain(self, done, *rest)
        say([self.path.name, done])

    ShardStore.commit = commit  # type: ignore[method-assign]
    Disk(way, last)
    run(name, folder)


def resumed(name: str, folder: Path) -> None:
    """Tells where each shard went on, and the result."""
    begun: dict[str, int] = {}
    loaded = ShardStore.load_facts

    def load_facts(self: ShardStore) -> Any:
        facts = loaded(self)
        begun.setdefault(self.path.name, self.done)
        return facts

    ShardStore.load_facts = load_facts  # type: ignore[method-assign]
    result = run(name, folder)
    say([[done for _, done in sorted(begun.items())], signature(result), [folder_rows(folder, n) for n in range(2)]])


def uninterrupted(name: str, folder: Path) -> None:
    whole = signature(run(name, None))
    assert signature(run(name, folder)) == whole
    say([whole, [folder_rows(folder, shard) for shard in range(2)]])


def problem(name: str, folder: Path, promised: list[Any], reference: list[Any]) -> str | None:
    """What is wrong with the run that goes on, if anything."""
    torn = (folder / "events.jsonl").read_bytes().count(b"\n") if (folder / "events.jsonl").exists() else 0
    status, told = forked(lambda: resumed(name, folder))
    if status:
        return f"fails with {status}: {told}"
    begun, *result = told[0]
    for shard, done in promised:
        if begun[int(shard)] < done:
            return f"step {done} of shard {shard} was promised, but it went on from {begun[int(shard)]}"
    if result != reference:
        return "other draws"
    if left := [path.name for path in folder.rglob(f"*{files.PARTIAL}")]:
        return f"left behind: {left}"
    lines = (folder / "events.jsonl").read_text().splitlines()
    if json.loads(lines[-1]) != {"event": "begun"} or len(lines) < torn + 1:
        return f"events: {lines}"
    return None


def matrix(name: str, scratch: Path, way: str, *, first_only: bool = False) -> tuple[list[Any], int]:
    """Kills that went wrong, and the number of kills."""
    status, told = forked(lambda: uninterrupted(name, scratch / "reference"))
    assert status == 0, told
    wrong: list[Any] = []
    for last in range(10_000):
        folder = scratch / "run"
        shutil.rmtree(folder, ignore_errors=True)
        status, promised = forked(partial(dying, name, folder, way, last))
        if status == 0 or (wrong and first_only):
            break
        if status != signal.SIGKILL:
            wrong.append([last, f"fails with {status}: {promised}"])
        elif found := problem(name, folder, promised, told[0]):
            wrong.append([last, found])
    return wrong, last


def in_place() -> None:
    files.write_parts = lambda path, parts: files.write_atomically(path, b"".join(parts))

    def write_atomically(path: Path, data: bytes) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    for module in ("samplers.storage.atomic_files", "samplers.storage.tensor_file", "samplers.storage.run_store"):
        sys.modules[module].write_atomically = write_atomically  # type: ignore[attr-defined]


def unsynced_bytes() -> None:
    class OfNamesAlone:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, descriptor: int) -> None:
            if os.path.isdir(_path(descriptor)):
                os.fsync(descriptor)

    files.os = OfNamesAlone()  # type: ignore[attr-defined]


def unsynced_names() -> None:
    files._sync_folder = lambda path: None


def unsynced_new_folders() -> None:
    for module in ("samplers.storage.run_store", "samplers.storage.shard_store"):
        sys.modules[module].make_folder = lambda path: path.mkdir(parents=True, exist_ok=True)  # type: ignore[attr-defined]


def commit_before_chunk() -> None:
    plain, module = sys.modules["samplers.storage.shard_store"].save_record, sys.modules["samplers.storage.shard_store"]  # type: ignore[attr-defined]
    chunks: list[Any] = []

    def late(path: Path, *rest: Any) -> None:
        if path.name != "commit.safetensors":
            chunks.append((path, *rest))
            return
        plain(path, *rest)
        while chunks:
            plain(*chunks.pop())

    module.save_record = late  # type: ignore[attr-defined]


MUTANTS: dict[str, tuple[Callable[[], None], str]] = {
    "files are written in place": (in_place, "kill"),
    "bytes are not synced": (unsynced_bytes, "bytes"),
    "names are not synced": (unsynced_names, "power"),
    "names of new folders are not synced": (unsynced_new_folders, "power"),
    "the commit record comes before its chunk": (commit_before_chunk, "kill"),
}
"""Each with the way of dying that shows it."""


def main(scratch: str, name: str, way: str, mutant: str = "") -> None:
    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # what a power cut loses is played by Disk
    if mutant:
        MUTANTS[mutant][0]()
    print(json.dumps(matrix(name, Path(scratch), way, first_only=bool(mutant))))


if __name__ == "__main__":
    main(*sys.argv[1:])
