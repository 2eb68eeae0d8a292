"""``--workers N``: the shards of a run in processes of their own, told apart from one process by nothing but time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any

import click

from experiments.results.safe_text import visible

if TYPE_CHECKING:
    from experiments.runs.run_directory import RunDirectory

__all__ = ["run_workers"]

POLL = 0.1  # seconds between two looks at whether to stop
SHOWN = 4000  # characters of what a worker that died had to say
NO_ARGUMENTS = ("experiment", "energy_sha256", "workers", "out")  # of ``config.json``


@dataclass
class _Worker:
    """One process: what it told, and where its stderr goes."""

    process: subprocess.Popen[str]
    stderr: IO[str]
    told: dict[str, Any] = field(default_factory=dict)

    def end(self, name: str) -> Exception | None:
        """What went wrong, if anything. What it wrote, a warning or a traceback, is shown."""
        from samplers import InvalidInput, McmcTextError

        self.stderr.seek(0)
        if words := self.stderr.read()[-SHOWN:].strip():
            click.echo("\n".join([f"{name}:", *map(visible, words.splitlines())]), err=True)
        if "error" in self.told:
            return (InvalidInput if self.told["bad_input"] else McmcTextError)(self.told["error"])
        if code := self.process.returncode:
            end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return McmcTextError(f"{name} {end}; what it committed is kept, and the same command goes on from there")
        return None


def run_workers(directory: RunDirectory, wanted: int, *, progress: bool) -> None:
    """Do what is left to do of the run in ``directory``, whose lock is held and whose ``work`` is known.

    A worker that fails leaves the others to finish. Raises ``Interrupted`` after SIGINT or SIGTERM, which are passed
    on, and else the error of the first worker that failed, or ``McmcTextError`` for one that died.
    """
    from samplers import Interrupted
    from samplers.run import progress_bar, stop_signals

    work, done = directory.work, directory.done()
    assert work is not None, "what is to be done is not known"
    if done == work.total:
        return
    count = min(wanted, work.shards)
    if count < wanted:
        warnings.warn(
            f"--workers is {wanted}, but there is work for {count} as all chains are in {work.shards} shards; lower "
            "--shard-size to use more",
            stacklevel=2,
        )
    with stop_signals() as stop, progress_bar(work.total, shown=progress) as bar:
        bar.update(done)
        with _started(directory, count) as (workers, news):
            stopped = _watched(workers, news, stop, bar.update)
            if stopped and (done := directory.done()) < work.total:
                raise Interrupted(stopped, directory.path, done)
            if errors := [error for number, worker in enumerate(workers, start=1)
                          if (error := worker.end(f"worker {number} of {count}"))]:  # fmt: skip
                raise errors[0]


@contextmanager
def _started(
    directory: RunDirectory, count: int
) -> Iterator[tuple[list[_Worker], SimpleQueue[tuple[int, dict[str, Any] | None]]]]:
    """Workers, and the queue of what they tell, ``None`` at the end of each; none outlives the block."""
    arguments = {name: value for name, value in directory.config.items() if name not in NO_ARGUMENTS}
    arguments["out"] = str(directory.path)
    news: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
    workers: list[_Worker] = []
    with ExitStack() as stack:
        for index in range(count):
            stderr = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            process = subprocess.Popen(
                # Not the folder where it is started, but all that this process imports from is looked through.
                [sys.executable, "-P", "-m", "experiments.runs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                env=_environment(count),
                **_alone(directory.store.descriptor),
            )
            stack.callback(_end, process)
            workers.append(_Worker(process, stderr))
            threading.Thread(target=_listen, args=(index, process, news), daemon=True).start()
            task = {"experiment": directory.config["experiment"], "arguments": {**arguments, "share": [index, count]}}
            _tell(process, task)
        yield workers, news


def _watched(
    workers: list[_Worker],
    news: SimpleQueue[tuple[int, dict[str, Any] | None]],
    stop: Callable[[], int | None],
    advance: Callable[[int], Any],
) -> int | None:
    """Until all are gone; the signal that came, if any did."""
    running, passed_on = len(workers), None
    while running:
        if passed_on is None and (passed_on := stop()):
            for worker in workers:
                worker.process.send_signal(passed_on)
        try:
            index, told = news.get(timeout=POLL)
        except Empty:
            continue
        if told is None:
            workers[index].process.wait()
            running -= 1
        elif "steps" in told:
            advance(told["steps"])
        else:
            workers[index].told |= told
    return passed_on or stop()


def _listen(index: int, process: subprocess.Popen[str], news: SimpleQueue[Any]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(ValueError):  # torn, as it was killed
            news.put((index, json.loads(line)))
    news.put((index, None))


def _tell(process: subprocess.Popen[str], task: Mapping[str, Any]) -> None:
    """Its pipe stays open: at the end of it the worker ends, so that none goes on without a parent."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it is dead already, which is told when its end is looked at
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()


def _environment(count: int) -> dict[str, str]:
    """Threads divided among the workers, and the same places to import from."""
    import torch

    threads = str(max(1, torch.get_num_threads() // count))
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": places}


def _alone(lock: int | None) -> dict[str, Any]:
    """A process group of its own: Ctrl-C then reaches a worker once, passed on by its parent.

    With a share in the run's ``lock``: where the parent was killed nobody goes on before the last worker has ended.
    """
    if os.name != "posix":
        return {"creationflags": 0x200}  # CREATE_NEW_PROCESS_GROUP
    return {"process_group": 0, "pass_fds": () if lock is None else (lock,)}
