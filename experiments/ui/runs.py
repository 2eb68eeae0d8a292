"""The runs of a folder: which there are, what they are doing, and the commands that begin, stop and resume them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.declaration.resume_option import new_folder

__all__ = ["Runs", "Status"]

COMMAND = "from experiments.cli import main; main(prog_name='mcmc-text')"
GOES_ON = ("starting", "running", "elsewhere")
PATIENCE = 20.0  # seconds in which a run is to commit and end when it is stopped


class Status(NamedTuple):
    """What a run is doing, and what its command has said: warnings, or the line with which it ended."""

    state: Literal["starting", "running", "elsewhere", "stopped", "finished", "failed"]
    said: str = ""

    @property
    def is_under_way(self) -> bool:
        return self.state in ("starting", "running")


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    stderr: Path


class Runs:
    """Those in ``folder``. A run is an ordinary command in a process of its own, which outlives this one if need be.

    ``energies`` are the user's own that a run may have: a folder never names code that is to be run.
    """

    def __init__(self, folder: str | Path, energies: Sequence[str] = ()) -> None:
        self.folder, self.energies = Path(folder), tuple(energies)
        self._children: dict[str, _Child] = {}
        self._said = tempfile.TemporaryDirectory(prefix="mcmc-text-")

    def names(self) -> list[str]:
        """Names of the folders of runs, the latest first, also of those whose folder is not there yet."""
        there = {path.parent.name: path.stat().st_mtime for path in self.folder.glob("*/config.json")}
        new = [name for name, child in self._children.items() if name not in there and child.process.poll() is None]
        return [*reversed(new), *sorted(there, key=lambda name: -there[name])]

    def under_way(self) -> str | None:
        """The latest of those that go on."""
        return next((name for name in self.names() if self.status(name).state in GOES_ON), None)

    def path(self, name: str) -> Path:
        """Raises ``InvalidInput`` for what is no run of this folder."""
        from samplers import InvalidInput

        if name not in self._children and name not in self.names():
            raise InvalidInput(f"{str(self.folder)!r} holds no run {name!r}")
        return self.folder / name

    def start(self, experiment: str, words: Sequence[str]) -> str:
        """Begin a run of the ``experiment`` with these ``words`` of the command line; its name.

        Raises ``InvalidInput`` for words that no command line can have.
        """
        path = Path(new_folder(experiment, str(self.folder)))
        self._begin(path.name, [experiment, f"--out={path}", *words])
        return path.name

    def resume(self, name: str) -> None:
        """Raises ``InvalidInput`` for a folder that holds no run of an experiment, or one that is under way."""
        from samplers import InvalidInput, RunStore

        path = self.path(name)
        if self.status(name).is_under_way:
            raise InvalidInput(f"{name!r} is under way already")
        config = RunStore(path).read("config.json")
        experiment, recorded = config.get("experiment"), config.get("energies")
        if not isinstance(experiment, str) or experiment.startswith("-"):
            raise InvalidInput(f"{str(path)!r} holds no run of an experiment")
        own = [each for each in self.energies if each in (recorded if isinstance(recorded, list) else [])]
        self._begin(name, [experiment, f"--resume={path}", *(f"--energy={each}" for each in own)])

    def stop(self, name: str) -> None:
        """Ask it to commit and end; nothing where it has ended, or is not of this process."""
        if child := self._children.get(name):
            child.process.terminate()

    def status(self, name: str) -> Status:
        path, child = self.path(name), self._children.get(name)
        is_made = (path / "config.json").exists()
        said = child.stderr.read_text("utf-8", "replace").strip() if child else ""
        if child and child.process.poll() is None:
            return Status("running" if is_made else "starting", said)
        if is_made and _is_finished(path):
            return Status("finished", said)
        if is_made and (pid := _owner(path)):
            return Status("elsewhere", f"Process {pid}, which was not begun here, is at it; `kill {pid}` stops it.")
        code = child.process.returncode if child else 0
        if code < 0:
            said = f"{said}\n{_ended_by(-code, is_made=is_made)}".strip()
        return Status("failed" if not is_made or 0 < code <= 128 else "stopped", said)

    def close(self) -> list[str]:
        """Stop the runs that were begun here; their names. Each is committed and can be resumed."""
        under_way = [name for name, child in self._children.items() if child.process.poll() is None]
        for name in under_way:
            self.stop(name)
        for name in under_way:
            with suppress(subprocess.TimeoutExpired):
                self._children[name].process.wait(PATIENCE)
        self._said.cleanup()
        return under_way

    def _begin(self, name: str, words: Sequence[str]) -> None:
        from samplers import InvalidInput

        # Another process group: Ctrl-C in the terminal of this one does not reach it. The folder of the shell is no
        # place to import from.
        places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        stderr = Path(self._said.name) / name
        try:
            with stderr.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, "-c", COMMAND, words[0], "--quiet", *words[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": places, "PYTHONSAFEPATH": "1"},
                )
        except (ValueError, OSError) as error:  # what no program can be given: NUL, halves of characters, a novel
            raise InvalidInput(f"this cannot be given to a command ({error})") from error
        self._children[name] = _Child(process, stderr)


def _ended_by(number: int, *, is_made: bool) -> str:
    cause = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
    kept = "what it had committed is kept, and Resume goes on from there" if is_made else "it had not begun to draw"
    return f"The process was ended by {cause}; {kept}."


def _is_finished(path: Path) -> bool:
    from experiments.entry.open_run import is_finished
    from samplers import McmcTextError, RunStore

    try:
        return is_finished(RunStore(path))
    except McmcTextError:  # which is told where the run is shown
        return False


def _owner(path: Path) -> int | None:
    """The process that says it works in the folder, if it is on this machine and lives."""
    from samplers import McmcTextError, RunStore

    try:
        owner = RunStore(path).read("owner.json")
    except McmcTextError:
        return None
    pid = owner.get("pid")
    if type(pid) is not int or pid < 1 or owner.get("host") != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return pid
    return pid
