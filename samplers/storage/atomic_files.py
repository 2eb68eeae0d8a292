"""Files that are whole or not there: atomic writes, bounded reads, and their errors in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from samplers.errors import StoreError

__all__ = [
    "append_line",
    "exists",
    "is_partial",
    "make_folder",
    "read_bounded",
    "sweep",
    "write_atomically",
    "write_parts",
]

PARTIAL = ".mcmc-text-part"  # a name that nobody else gives: such files are removed
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)  # what file systems say that cannot do it


def write_atomically(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``: after a crash at any instant it holds all of the old bytes or all of the new."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """As ``write_atomically``, with contents that are made as they are written.

    Temporary file, fsync, rename, fsync of the folder. A link at ``path`` is replaced, not followed. Raises
    ``StoreError`` for a full disk, a folder that is not writable and the like; ``path`` is then as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")  # workers may write the same facts at once
    try:
        try:
            partial.unlink(missing_ok=True)
            # Made anew, so that it is no link, symbolic or hard, through which another file would be overwritten.
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be written ({_reason(error)}); what was written before is whole"
        ) from error


def is_partial(path: Path) -> bool:
    """Whether ``path`` is a file that ``write_parts`` has begun, by its name."""
    return path.name.startswith(".") and path.name.endswith(PARTIAL)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed had half written. Nobody may be writing to ``folder``."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            partial.unlink()


def append_line(path: Path, line: str) -> None:
    """Add a line; after a crash it may be torn, and the next one then starts a line of its own. Raises ``StoreError``.

    Symbolic links are not followed, and for a pipe, opened to be read as well, nobody waits.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o644), "r+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + line.encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({_reason(error)})") from error


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a plain file of at most ``limit``. Raises ``StoreError``."""
    try:
        if not path.is_file():
            raise StoreError(f"{str(path)!r} is missing, or no plain file; put it back from a copy")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise StoreError(f"{str(path)!r} is larger than {limit:,} bytes, so this program did not write it")
            return file.read(size)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error


def exists(path: Path) -> bool:
    """Whether there is anything at ``path``. Raises ``StoreError`` where that cannot be told, which is not no."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error
    return True


def make_folder(path: Path) -> None:
    """Make ``path`` and what is missing above it, so that a crash undoes none of them. Raises ``OSError``."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
