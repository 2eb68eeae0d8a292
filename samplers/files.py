"""Files that are whole or not there: atomic writes, bounded reads, and their errors in one line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from samplers.errors import StoreError

__all__ = ["append_line", "read_bounded", "write_atomically", "write_parts"]

PARTIAL = ".part"


def write_atomically(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``: after a crash at any instant it holds all of the old bytes or all of the new."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """As ``write_atomically``, with contents that are made as they are written.

    Temporary file, fsync, rename, fsync of the folder. A symbolic link at ``path`` is replaced, not followed. Raises
    ``StoreError`` for a full disk, a folder that is not writable and the like; ``path`` is then as it was.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with _opened(partial, os.O_TRUNC) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"{str(path)!r} cannot be written ({_reason(error)}); what was written before is whole"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Add a line; after a crash the last line may be torn. Raises ``StoreError``."""
    try:
        with _opened(path, os.O_APPEND) as file:
            file.write(line.encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({_reason(error)})") from error


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a plain file of at most ``limit``. Raises ``StoreError``."""
    try:
        if not path.is_file():
            raise StoreError(f"{str(path)!r} is missing, or no plain file; put it back from a copy")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error
    if len(data) > limit:
        raise StoreError(f"{str(path)!r} is larger than {limit:,} bytes, so this program did not write it")
    return data


def _opened(path: Path, flag: int):  # type: ignore[no-untyped-def]
    """For writing, and never through a symbolic link that somebody put there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flag | getattr(os, "O_NOFOLLOW", 0), 0o644)
    return os.fdopen(descriptor, "wb" if flag == os.O_TRUNC else "ab")


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
