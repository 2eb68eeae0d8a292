"""``python -m experiments.entry.worker``: one of the processes of ``--workers``; see ``runs/workers.py``.

A line of JSON on stdin says what to do; lines of JSON on stdout report steps done, and an error that fits on one line.
At the end of stdin the parent is gone, and the worker ends as if it were killed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import click

from experiments.declaration.wording import Remark
from experiments.entry.find import find_experiment
from experiments.setup.job import Share

__all__ = ["main"]

PAUSE = 0.2  # seconds between two lines


def main() -> int:
    """The exit code: 128 and the signal after one, 1 for an error that was reported."""
    report = _channel()
    task = json.loads(_first_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore", Remark)
    try:
        return _run(task, report)
    except KeyboardInterrupt:
        return 130


def _run(task: dict[str, Any], report: Callable[..., None]) -> int:
    from samplers import Interrupted, InvalidInput, McmcTextError

    declared = find_experiment(task["experiment"])
    steps = _Steps(report)
    first, apart = task["share"]
    # Errors name options where the parent was called from a shell.
    caller = click.Context(declared.command()) if task["shell"] else nullcontext()
    try:
        with caller:
            declared.run_share(task["arguments"], Share(first, apart, steps))
    except Interrupted as stop:
        return 128 + stop.signal
    except McmcTextError as error:
        report(error=str(error), bad_input=isinstance(error, InvalidInput))
        return 1
    finally:
        steps.flush()
    return 0


class _Steps:
    """Counts steps and reports them, not too often."""

    def __init__(self, report: Callable[..., None]) -> None:
        self.report, self.steps, self.last = report, 0, time.monotonic()

    def __call__(self, steps: int) -> None:
        self.steps += steps
        if time.monotonic() - self.last > PAUSE:
            self.flush()

    def flush(self) -> None:
        self.report(steps=self.steps)
        self.steps, self.last = 0, time.monotonic()


def _channel() -> Callable[..., None]:
    """Writes lines to the parent. Whatever else is printed here goes to stderr."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(**facts: Any) -> None:
        lines.write(json.dumps(facts) + "\n")
        lines.flush()

    return report


def _first_line() -> bytes:
    """Unbuffered: a thread that waits inside a buffer cannot be left behind at the end."""
    line = b""
    while not line.endswith(b"\n"):
        if not (part := os.read(0, 2**16)):
            os._exit(1)
        line += part
    return line


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
