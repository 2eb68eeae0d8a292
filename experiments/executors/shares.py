"""The shards of a run in processes of their own, wherever these are. Same draws as in one process, only faster."""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import TYPE_CHECKING

import click

from experiments.declaration.wording import argument, command_words
from experiments.executors.local import LocalProcesses
from experiments.executors.ray_cluster import RayCluster
from experiments.executors.share import Executor, Outcome, Shares, ShareTask
from experiments.results.safe_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from tqdm import tqdm

    from experiments.runs.run_directory import RunDirectory
    from experiments.runs.watch import Watch
    from samplers import McmcTextError

__all__ = ["executor_of", "run_shares"]

POLL = 0.1  # seconds between two looks at whether to stop
REFRESH = 1.0  # seconds between two looks at what is committed


def executor_of(backend: str, ray_address: str | None, device: str) -> Executor:
    return RayCluster(ray_address, device) if backend == "ray" else LocalProcesses()


def run_shares(
    directory: RunDirectory,
    location: str | None,
    executor: Executor,
    wanted: int | None,
    *,
    progress: bool,
    watch: Watch | None = None,
) -> None:
    """Do what is left to do of the run in ``directory``, whose lock is held and whose ``work`` is known.

    ``location`` is where its experiment is found; ``wanted`` is the number of processes, by default what the
    ``executor`` has room for.

    ``watch`` is shown what they have committed.

    One that fails leaves the others to finish. Raises ``Interrupted`` after SIGINT or SIGTERM, which are passed on, and
    else the error of the first that failed, or ``McmcTextError`` for one that died.
    """
    from samplers import Interrupted
    from samplers.run import progress_bar, stop_signals

    work, done = directory.work, directory.done()
    assert work is not None, "the work is not known yet"
    assert location is not None, "other processes find the experiment"
    if done == work.total:
        return
    count = min(places := executor.places(wanted), work.shards)
    if wanted is not None and count < places:
        warnings.warn(
            f"{argument('workers')} is {wanted}, but there is work for {count}: {_parts(directory)}", stacklevel=2
        )
    known = work.total is not None
    with stop_signals() as stop, progress_bar(work.total or 0, shown=progress and known and watch is None) as bar:
        bar.update(done)
        lock = directory.store.descriptor
        with executor.started(directory.path, lock, _tasks(directory, location, count)) as shares:
            stopped = _watched(shares, stop, directory, bar, watch)
            done = directory.done()
            if stopped and (work.total is None or done < work.total):
                raise Interrupted(stopped, directory.path, done)
            names = [f"{executor.noun} {number} of {count}" for number in range(1, count + 1)]
            errors = [_error(name, shares.outcome(index)) for index, name in enumerate(names)]
            for error in errors:
                if error:
                    raise error


def _tasks(directory: RunDirectory, location: str, count: int) -> list[ShareTask]:
    arguments = {each.name: directory.config[each.name] for each in directory.arguments if each.recorded}
    arguments |= {"out": str(directory.path), "workers": None, "backend": "local", "ray_address": None}
    shell = command_words() is not None
    return [ShareTask(location, arguments, shell, first, count) for first in range(count)]


def _watched(
    shares: Shares, stop: Callable[[], int | None], directory: RunDirectory, bar: tqdm, watch: Watch | None
) -> int | None:
    """Until all have ended; the signal that came, if any did."""
    from samplers.run import stored_states

    work = directory.work
    assert work is not None, "the work is known"
    passed_on, looked = None, time.monotonic()
    while not shares.wait(POLL):
        if passed_on is None and (passed_on := stop()):
            shares.stop(passed_on)
        if not bar.disable and time.monotonic() - looked > REFRESH:
            bar.update(directory.done() - bar.n)
            looked = time.monotonic()
        if watch:
            watch.shards(partial(stored_states, directory.store, work.shards), work.total or 0, work.unit)
    return passed_on or stop()


def _parts(directory: RunDirectory) -> str:
    """What processes share, and how there would be more of it."""
    config, shards = directory.config, directory.work.shards if directory.work else 0
    if config.get("sampler") == "smc":
        return f"populations are done whole, and there are {shards}; {argument('populations')} makes more"
    return (
        f"{config['chains']} chains in shards of {config['shard_size']} are {shards} of these; a smaller "
        f"{argument('shard_size')} makes more, with other draws"
    )


def _error(name: str, outcome: Outcome) -> McmcTextError | None:
    """What went wrong, if anything. What it wrote, a warning or a traceback, is shown."""
    from samplers import InvalidInput, McmcTextError

    if outcome.said:
        click.echo("\n".join([f"{name}:", *map(visible, outcome.said.splitlines())]), err=True)
    if outcome.error:
        return (InvalidInput if outcome.bad_input else McmcTextError)(outcome.error)
    if outcome.end:
        return McmcTextError(
            f"{name} {outcome.end}; what it committed is kept, and the same command resumes from there"
        )
    return None
