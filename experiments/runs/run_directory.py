"""The folder of an experiment's run: what was asked for, what was drawn, and what became of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.arguments import Argument
from experiments.declaration.wording import argument
from experiments.results.protocol import Run
from experiments.results.safe_text import json_line, json_text, plain
from experiments.runs.repeat_file import RUN_FILE, run_file, write_run_file
from experiments.runs.resume_checks import (
    check_config,
    check_experiment,
    check_models,
    check_named,
    check_versions,
    how_to_resume,
)
from experiments.starts.made import STARTS

if TYPE_CHECKING:
    from samplers import EnergyError, Interrupted, RunStore

__all__ = ["RunDirectory", "Work", "run_directory", "write_run"]

LIBRARIES = ("mcmc-text", "torch", "transformers", "tokenizers", "numpy", "arviz-stats")
PINNED = ("config.json", "env.json", "models.json", "fingerprint.json", "problem.json", STARTS)
# What a run has before its first draw.
BEFORE_DRAWS = {*PINNED, "events.jsonl", "failed.jsonl", "lock", "mcmc-text.json", "owner.json", RUN_FILE}


@contextmanager
def run_directory(
    path: str | Path,
    config: Mapping[str, Any],
    arguments: Iterable[Argument],
    *,
    extensible: bool,
    every: int,
    allow_version_change: bool,
    location: str | None = None,
    held: bool = False,
) -> Iterator[RunDirectory]:
    """Begin the run in ``path``, or resume it, and hold its lock for the time of the block.

    A new folder is made when the first step is about to run: bad input leaves none. One that is in the folder of an
    enclosing run, as those of ``compare`` are, is made after that.

    Main arguments
        ``config`` holds the values of the ``arguments`` that are recorded; in a folder that holds draws already it
        must be the same, though ``steps`` may have grown where the run is ``extensible``.
    Other arguments
        ``every``: steps between commits. ``location``: as ``Experiment.location``. ``allow_version_change``: other
        versions of libraries are a warning. ``held``: the process that started this one has begun the run and holds
        its lock.
    Raises
        ``InvalidInput`` for a folder that cannot be written to, is in use, or holds anything else than this run;
        nothing in it is changed then. ``StoreError`` for a damaged one.
    """
    from lm_adapters import ServerError
    from samplers import EnergyError, Interrupted, InvalidInput, McmcTextError, RunStore, StoreError

    store = RunStore(path, every=every, allow_version_change=allow_version_change, lazy=True)
    check_experiment(store, config)
    directory = RunDirectory(store, config, arguments, extensible=extensible)
    with ExitStack() as stack:
        stack.enter_context(_enclosing_of_others(store))
        if held:
            check_config(store, directory.config, directory.arguments, extensible=extensible)
        else:
            try:
                stack.enter_context(store)
            except InvalidInput as error:
                raise InvalidInput(f"{argument('out')} {error}") from error
            directory.begin(allow_version_change=allow_version_change)
            text = run_file(directory.config, directory.arguments, location)
            store.when_made(lambda: write_run_file(store.path, text))
        try:
            yield directory
        except Interrupted as stop:
            if not held:
                directory.stopped(stop, allow_version_change=allow_version_change)
            raise
        except McmcTextError as error:
            if held or store.is_made:
                with suppress(StoreError):  # a full disk may be what failed
                    if isinstance(error, EnergyError):
                        directory.keep_texts(error)
                    if not held:
                        directory.log("failed", error=str(error))
                if isinstance(error, ServerError):
                    again = directory.how_to_resume(allow_version_change=allow_version_change)
                    raise ServerError(f"{error}; {again}") from error
            raise


_enclosing: ContextVar[RunStore | None] = ContextVar("_enclosing", default=None)


@contextmanager
def _enclosing_of_others(store: RunStore) -> Iterator[None]:
    """Runs that begin inside the block, in folders below this one, are made after it."""
    outer = _enclosing.get()
    if outer is not None and store.path.is_relative_to(outer.path):
        store.before_making = outer.make
    token = _enclosing.set(store)
    try:
        yield
    finally:
        _enclosing.reset(token)


@dataclass(frozen=True)
class Work:
    """What a run has to do: ``total`` of ``unit``, all ``shards`` together; ``None`` where that is not known before."""

    shards: int
    total: int | None
    unit: str


class RunDirectory:
    """A run's folder, with ``store`` for its samplers. ``work`` is set once it is known."""

    def __init__(
        self, store: RunStore, config: Mapping[str, Any], arguments: Iterable[Argument], *, extensible: bool
    ) -> None:
        self.store, self.path, self.extensible = store, store.path, extensible
        self.config, self.arguments = plain(config), list(arguments)
        self.work: Work | None = None
        self.reported = False  # whether a run that stopped has written its draws so far

    def begin(self, *, allow_version_change: bool) -> None:
        """Write configuration and environment, or compare them with those of the run that is resumed."""
        from samplers.storage import exists

        now = environment()
        if exists(self.path / "config.json"):
            check_named(self.store, self.config)
        if drawn := self._has_draws():
            check_config(self.store, self.config, self.arguments, extensible=self.extensible)
            check_versions(self.store, now["versions"], allowed=allow_version_change)
        else:
            for name in PINNED:  # of a run that never drew: whatever was wrong with it may be put right
                _remove(self.path / name)
        earlier = [each.option.formerly for each in self.arguments if each.option and each.option.formerly]
        self.store.pin("config.json", self.config, free=[*self.config, *earlier])
        if not drawn:
            self.store.pin("env.json", now)
        self.log("resumed" if drawn else "started", environment=now)

    def pin_models(self, models: Mapping[str, Any]) -> None:
        """Record what ``models``, by the argument that names each, compute with, or compare it with what was recorded.

        Each has a ``model`` and a ``space`` with its tokenizer, or, behind a server, a ``config``. Raises
        ``InvalidInput`` for another model.
        """
        from lm_adapters.loading import model_fingerprint
        from samplers.storage import exists

        facts = {
            name: each.config() if each.model is None else model_fingerprint(each.model, each.space.tokenizer)
            for name, each in models.items()
        }
        if exists(self.path / "models.json"):
            check_models(self.store, facts, self.config)
        self.store.pin("models.json", facts, free=[f"{name}.revision" for name in facts])

    def done(self) -> int:
        """How much of the work is committed."""
        done = 0
        for index in range(self.work.shards if self.work else 0):
            shard = self.store.shard(index)
            shard.load_facts()
            done += shard.done
        return done

    @property
    def finished_before(self) -> str:
        """News of a run that had nothing left to do."""
        more = f"a larger {argument('steps')} extends it" if self.extensible else "it cannot be extended"
        return f"The run was finished already and nothing was done; {more}."

    def finish(self, run: Run, summary: Mapping[str, Any], page: str) -> None:
        """Write the samples, their summary, and the HTML page."""
        write_run(self.path, run, summary, page)
        self.log("finished")

    @property
    def progress(self) -> str:
        """How far the run came."""
        assert self.work is not None, "the work is not known yet"
        of = "" if self.work.total is None else f"of {self.work.total:,} "
        return f"stopped after {self.done():,} {of}{self.work.unit}"

    def stopped(self, stop: Interrupted, *, allow_version_change: bool) -> None:
        """Fill in how far the run came and how to resume it."""
        if self.work:
            stop.progress = self.progress
        stop.how_to_resume = self.how_to_resume(allow_version_change=allow_version_change)
        self.log("stopped", progress=stop.progress)

    def how_to_resume(self, *, allow_version_change: bool) -> str:
        """The command, and where the draws so far are if they were written."""
        path = str(self.path)
        command = how_to_resume(self.config, self.arguments, path, allow_version_change=allow_version_change)
        return f"its draws so far are in {path!r}; {command}" if self.reported else command

    def keep_texts(self, error: EnergyError) -> None:
        """The texts that an energy could not score, for ``mcmc-text score``."""
        from samplers.storage import append_line

        if not error.texts or error.saved:
            return
        path = self.path / "failed.jsonl"
        # Rows are chains once the run is under way; before it they are texts to start from.
        started = error.step is not None
        rows = error.rows if started and len(error.rows) == len(error.texts) else [None] * len(error.texts)
        for text, row in zip(error.texts, rows, strict=True):
            append_line(path, json_line({"text": text, "chain": row, "step": error.step, "term": error.term}))
        error.saved = str(path)

    def log(self, event: str, **facts: Any) -> None:
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        self.store.log(event, time=when, pid=os.getpid(), **facts)

    def _has_draws(self) -> bool:
        # Hidden files are what a process that was killed had half written.
        if not self.path.is_dir():
            return False
        return bool({path.name for path in self.path.iterdir() if not path.name.startswith(".")} - BEFORE_DRAWS)


def _remove(path: Path) -> None:
    from samplers import StoreError

    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be removed ({error.strerror}); choose another folder") from error


def write_run(folder: Path, run: Run, summary: Mapping[str, Any], page: str) -> None:
    """Write samples, summary and page of a run. Raises ``StoreError``."""
    from samplers.storage import write_atomically, write_parts

    write_parts(folder / "samples.jsonl", (json_line(sample).encode() + b"\n" for sample in run.samples()))
    write_atomically(folder / "summary.json", _pretty(summary))
    write_atomically(folder / "report.html", page.encode())


def environment() -> dict[str, Any]:
    """What the draws depend on apart from the configuration."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "mkl_cbwr": os.environ.get("MKL_CBWR"),  # what keeps their number out of the draws
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _pretty(value: Mapping[str, Any]) -> bytes:
    return (json_text(plain(value), indent=2) + "\n").encode()
