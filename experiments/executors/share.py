"""The part of a run that one process does, and what became of it: all that an executor carries there and back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Committed", "Executor", "OnlyBegun", "Outcome", "ShareTask", "Shares", "do_share", "last_words"]

ENTRY = "experiments.entry.share"  # by name, as an experiment knows executors, and not the other way round
SHOWN = 4000  # characters of what a process had to say

Committed = Callable[[list[Path]], None]
"""Called with the files of a commit, in the order in which they were written."""


class OnlyBegun(Exception):
    """Ends a share of which nothing but the beginning was wanted."""


@dataclass(frozen=True)
class ShareTask:
    """``arguments`` of an ``experiment``, by its ``location``, whose run another process has begun in their ``out``.

    To be done: shards ``first, first + apart, ...``; none, but everything before them, where ``only_begin``. ``shell``:
    messages name options.
    """

    experiment: str
    arguments: Mapping[str, Any]
    shell: bool
    first: int
    apart: int
    only_begin: bool = False


@dataclass(frozen=True)
class Outcome:
    """What went wrong, if anything.

    ``error`` is a message for the user, of bad input where ``bad_input``; ``end`` is how a process ended that could
    say nothing itself, such as ``was killed by signal 9``. ``said`` is what it wrote to stderr.
    """

    error: str = ""
    bad_input: bool = False
    end: str = ""
    said: str = ""


class Shares(Protocol):
    """Shares under way."""

    def wait(self, seconds: float) -> bool:
        """Whether all have ended; looks for at most so long."""

    def stop(self, number: int) -> None:
        """Have each finish its step, commit and end, as after the signal of that ``number``."""

    def outcome(self, index: int) -> Outcome: ...


class Executor(Protocol):
    """Where shares run. ``noun`` is what messages call the process of one."""

    noun: str

    def places(self, wanted: int | None) -> int:
        """How many shares are run at a time, where so many are ``wanted``."""

    def started(self, folder: Path, lock: int | None, tasks: list[ShareTask]) -> AbstractContextManager[Shares]:
        """Inside the block all are under way; none outlives it. ``lock``: file descriptor of the run's lock."""


def do_share(task: ShareTask, committed: Committed | None = None) -> Outcome:
    """In the process that it falls to."""
    outcome: Outcome = importlib.import_module(ENTRY).do_share(task, committed)
    return outcome


def last_words(text: str) -> str:
    return text[-SHOWN:].strip()
