"""Shares in processes of this machine, by loky: one executor for each, so that the others outlive one that dies."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.executors.share import Outcome, ShareTask, do_share, last_words

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.process import BaseProcess

    from loky import ProcessPoolExecutor

__all__ = ["LocalProcesses", "environment"]

ORPHANED = 0.2  # seconds between two looks at whether the parent is still there


class LocalProcesses:
    """``started`` as every ``Executor``. A process ends with this one, as if it were killed too."""

    noun = "worker"

    def places(self, wanted: int | None) -> int:
        return wanted or 1

    @contextmanager
    def started(self, folder: Path, lock: int | None, tasks: list[ShareTask]) -> Iterator[_Processes]:
        from loky import ProcessPoolExecutor

        with ExitStack() as stack:
            said = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcmc-text-")))
            begun: list[tuple[Future[int], Future[Outcome], Path]] = []
            for task in tasks:
                stderr = said / str(task.first)
                executor = ProcessPoolExecutor(
                    1, initializer=_Begin(os.getpid(), lock, str(stderr)), env=environment(len(tasks))
                )
                pid, outcome = executor.submit(os.getpid), executor.submit(do_share, task)
                stack.callback(_end, executor, outcome)
                begun.append((pid, outcome, stderr))
            yield _Processes([_Process(_of(pid), outcome, stderr) for pid, outcome, stderr in begun])


def _end(executor: ProcessPoolExecutor, outcome: Future[Outcome]) -> None:
    """In order where its share is done: Python warns of the semaphores that a killed process leaves."""
    executor.shutdown(wait=True, kill_workers=not outcome.done())


@dataclass
class _Process:
    process: BaseProcess | None  # none where it died before it could be asked
    future: Future[Outcome]
    stderr: Path

    @property
    def outcome(self) -> Outcome:
        said = last_words(self.stderr.read_text("utf-8", "replace")) if self.stderr.exists() else ""
        if self.future.exception() is None:
            result = self.future.result()
            return Outcome(result.error, result.bad_input, result.end, said)
        code = self.process.exitcode if self.process else None
        end = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
        return Outcome(end=end if code is not None else "ended before it began", said=said)


class _Processes:
    def __init__(self, all_: list[_Process]) -> None:
        self._all = all_

    def wait(self, seconds: float) -> bool:
        from concurrent.futures import wait

        return not wait([each.future for each in self._all], seconds).not_done

    def stop(self, number: int) -> None:
        for each in self._all:
            if each.process and each.process.pid:
                with suppress(ProcessLookupError):
                    os.kill(each.process.pid, number)

    def outcome(self, index: int) -> Outcome:
        return self._all[index].outcome


def _of(pid: Future[int]) -> BaseProcess | None:
    """The process that answered. One that died before is known by its future."""
    import multiprocessing

    if pid.exception() is not None:
        return None
    return next((each for each in multiprocessing.active_children() if each.pid == pid.result()), None)


@dataclass
class _Begin:
    """What a process does first.

    It is in a group of its own: Ctrl-C then reaches it once, passed on by its parent. It has a share in the run's
    ``lock``: where the parent was killed nobody resumes before the last process has ended. What it writes is kept.
    """

    parent: int
    lock: int | None
    stderr: str

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.reduction import DupFd

        return {**vars(self), "lock": None if self.lock is None or os.name != "posix" else DupFd(self.lock)}

    def __call__(self) -> None:
        if os.name == "posix":
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with open(self.stderr, "a") as stderr, open(os.devnull) as nothing:
            for stream, number in ((nothing, 0), (stderr, 1), (stderr, 2)):
                os.dup2(stream.fileno(), number)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        while os.getppid() == self.parent:
            time.sleep(ORPHANED)
        os._exit(1)


def environment(count: int) -> dict[str, str]:
    """Threads divided among the processes, and the same places to import from, without the folder of the shell."""
    import torch

    threads = str(max(1, torch.get_num_threads() // count))
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    safe = {"PYTHONPATH": places, "PYTHONSAFEPATH": "1"}
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **safe}
