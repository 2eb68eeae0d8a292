"""A lock on a folder that ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from samplers.storage.atomic_files import open_own

__all__ = ["FolderLock", "InUse"]


class InUse(Exception):
    """Another process holds the lock."""


class FolderLock:
    """Holds ``path``, an empty file that stays, from its construction to ``release``.

    The lock belongs to the open file: a process that inherits ``descriptor`` holds it too, until it ends. Raises
    ``InUse`` without waiting, and ``OSError`` where there can be no lock.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = open_own(path)  # through a link it would be another folder's lock
        try:
            _lock(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise

    def release(self) -> None:
        """For the processes that have inherited the lock too."""
        _unlock(self.descriptor)
        os.close(self.descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise InUse from error

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse from error

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
