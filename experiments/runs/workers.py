"""``--workers N``: the shards of a run in processes of their own. Same draws as one process, only faster."""

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

from experiments.declaration.wording import argument, command_words
from experiments.results.safe_text import visible

if TYPE_CHECKING:
    from experiments.runs.run_directory import RunDirectory

__all__ = ["run_workers"]

POLL = 0.1  # seconds between two looks at whether to stop
SHOWN = 4000  # characters of what a worker that died had to say


@dataclass
class _Worker:
    """One process: what it reported, and where its stderr goes."""

    process: subprocess.Popen[str]
    stderr: IO[str]
    reported: dict[str, Any] = field(default_factory=dict)

    def end(self, name: str) -> Exception | None:
        """What went wrong, if anything. What it wrote, a warning or a traceback, is shown."""
        from samplers import InvalidInput, McmcTextError

        self.stderr.seek(0)
        if words := self.stderr.read()[-SHOWN:].strip():
            click.echo("\n".join([f"{name}:", *map(visible, words.splitlines())]), err=True)
        if "error" in self.reported:
            return (InvalidInput if self.reported["bad_input"] else McmcTextError)(self.reported["error"])
        if code := self.process.returncode:
            end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return McmcTextError(f"{name} {end}; what it committed is kept, and the same command resumes from there")
        return None


def run_workers(directory: RunDirectory, location: str | None, wanted: int, *, progress: bool) -> None:
    """Do what is left to do of the run in ``directory``, whose lock is held and whose ``work`` is known.

    ``location`` is where its experiment is found.

    A worker that fails leaves the others to finish. Raises ``Interrupted`` after SIGINT or SIGTERM, which are passed
    on, and else the error of the first worker that failed, or ``McmcTextError`` for one that died.
    """
    from samplers import Interrupted
    from samplers.run import progress_bar, stop_signals

    work, done = directory.work, directory.done()
    assert work is not None, "the work is not known yet"
    if done == work.total:
        return
    count = min(wanted, work.shards)
    if count < wanted:
        warnings.warn(
            f"{argument('workers')} is {wanted}, but there is work for {count}: {_parts(directory)}", stacklevel=2
        )
    known = work.total is not None
    with stop_signals() as stop, progress_bar(work.total or 0, shown=progress and known) as bar:
        bar.update(done)
        with _started(directory, location, count) as (workers, news):
            stopped = _watched(workers, news, stop, bar.update)
            done = directory.done()
            if stopped and (work.total is None or done < work.total):
                raise Interrupted(stopped, directory.path, done)
            if errors := [error for number, worker in enumerate(workers, start=1)
                          if (error := worker.end(f"worker {number} of {count}"))]:  # fmt: skip
                raise errors[0]


def _parts(directory: RunDirectory) -> str:
    """What workers share, and how there would be more of it."""
    config, shards = directory.config, directory.work.shards if directory.work else 0
    if config.get("sampler") == "smc":
        return f"populations are done whole, and there are {shards}; {argument('populations')} makes more"
    return (
        f"{config['chains']} chains in shards of {config['shard_size']} are {shards} of these; a smaller "
        f"{argument('shard_size')} makes more, with other draws"
    )


@contextmanager
def _started(
    directory: RunDirectory, location: str | None, count: int
) -> Iterator[tuple[list[_Worker], SimpleQueue[tuple[int, dict[str, Any] | None]]]]:
    """Workers, and the queue of what they report, ``None`` at the end of each; none outlives the block."""
    arguments = {each.name: directory.config[each.name] for each in directory.arguments if each.recorded}
    arguments |= {"out": str(directory.path), "workers": 1}
    task = {"experiment": location, "arguments": arguments, "shell": command_words() is not None}
    news: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
    workers: list[_Worker] = []
    with ExitStack() as stack:
        for index in range(count):
            stderr = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            process = subprocess.Popen(
                # It imports from where this process does, and not from the folder where it is started.
                [sys.executable, "-P", "-m", "experiments.entry.worker"],
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
            _send(process, {**task, "share": [index, count]})
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
            index, report = news.get(timeout=POLL)
        except Empty:
            continue
        if report is None:
            workers[index].process.wait()
            running -= 1
        elif "steps" in report:
            advance(report["steps"])
        else:
            workers[index].reported |= report
    return passed_on or stop()


def _listen(index: int, process: subprocess.Popen[str], news: SimpleQueue[Any]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(ValueError):  # torn, as it was killed
            news.put((index, json.loads(line)))
    news.put((index, None))


def _send(process: subprocess.Popen[str], task: Mapping[str, Any]) -> None:
    """The pipe stays open: at the end of it the worker ends, so that none outlives its parent."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it is dead already, which ``end`` reports
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

    With a share in the run's ``lock``: where the parent was killed nobody resumes before the last worker has ended.
    """
    if os.name != "posix":
        return {"creationflags": 0x200}  # CREATE_NEW_PROCESS_GROUP
    return {"process_group": 0, "pass_fds": () if lock is None else (lock,)}
