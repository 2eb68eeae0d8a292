"""Atomic writes, bounded reads, and their errors in one line."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from samplers.errors import StoreError

__all__ = [
    "append_line",
    "check_makeable",
    "exists",
    "is_partial",
    "make_folder",
    "open_own",
    "open_to_read",
    "read_bounded",
    "sweep",
    "write_atomically",
    "write_parts",
]

PARTIAL = ".mcmc-text-part"  # suffix that no other program uses: such files are removed
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)  # errors of file systems that cannot sync a folder


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: after a crash at any time the file holds all of the old bytes or all of the new."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """``write_atomically`` for contents that are produced piece by piece.

    Temporary file, fsync, rename, fsync of the folder. A link at ``path`` is replaced, not followed. Raises
    ``StoreError`` (a full disk, a folder that is not writable); ``path`` is then unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")  # by process: workers may write one file at a time
    try:
        try:
            partial.unlink(missing_ok=True)
            # A new file, so that no link, symbolic or hard, leads to another file that would be overwritten.
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
            f"{str(path)!r} cannot be written ({_reason(error)}); its earlier contents are unchanged"
        ) from error


def is_partial(path: Path) -> bool:
    """Whether ``path`` has the name of a temporary file of ``write_parts``."""
    return path.name.startswith(".") and path.name.endswith(PARTIAL)


def sweep(folder: Path) -> None:
    """Remove temporary files of processes that were killed. No process may be writing to ``folder``."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            partial.unlink()


def append_line(path: Path, line: str) -> None:
    """Append a line. Raises ``StoreError``.

    A crash may leave it incomplete; the next call then starts a new line. Nothing but a file of its own is written to.
    """
    try:
        with os.fdopen(open_own(path, os.O_APPEND), "r+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + line.encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({_reason(error)})") from error


def open_own(path: Path, flags: int = 0) -> int:
    """A descriptor, for reading and writing, of a file that is made if it is missing.

    Raises ``OSError`` for a link, symbolic or hard, which would lead to another file, and for what is no file.
    """
    with suppress(FileNotFoundError):
        _check_regular(os.lstat(path), alone=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | flags, 0o644)
    try:
        _check_regular(os.fstat(descriptor), alone=True)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_to_read(path: Path, limit: int) -> BinaryIO:
    """A regular file of at most ``limit`` bytes. Symbolic links are not followed. Raises ``StoreError``."""
    try:
        _check_regular(os.lstat(path))
        file = os.fdopen(os.open(path, os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0)), "rb")
        found = os.fstat(file.fileno())
        try:
            _check_regular(found)
            if found.st_size > limit:
                raise StoreError(f"{str(path)!r} is larger than {limit:,} bytes, so this program did not write it")
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError as error:
        raise StoreError(f"{str(path)!r} is missing; restore it from a copy") from error
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes. Raises ``StoreError`` as ``open_to_read``."""
    with open_to_read(path, limit) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error


def exists(path: Path) -> bool:
    """Whether there is anything at ``path``. Raises ``StoreError`` if that cannot be determined."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read ({_reason(error)})") from error
    return True


def check_makeable(path: Path) -> None:
    """Raise ``OSError`` where no folder could be made at ``path``, or nothing written to the one that is there.

    Tried by a temporary file in it, or in the nearest folder above it, which is gone when this returns.
    """
    while not path.exists():
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "a link that leads nowhere", str(path))
        path = path.parent
    with tempfile.TemporaryFile(dir=path):
        pass


def make_folder(path: Path) -> None:
    """Create ``path`` and its missing parents so that they survive a crash. Raises ``OSError``."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders, and journals renames
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _check_regular(found: os.stat_result, *, alone: bool = False) -> None:
    """Raise ``OSError`` for what is no file, and with ``alone`` for one of several names."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link; a run has its files in its own folder only")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if alone and found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a hard link, so that another file would be written to; put a copy there")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
