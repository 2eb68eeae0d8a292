"""``python -m experiments.runs.worker``: one of the processes of ``--workers``; see ``workers.py``.

A line of JSON on stdin says what to do; lines of JSON on stdout tell of steps done and of errors that are told in one
line. At the end of stdin the parent is gone, and so is the worker: it ends at once, as if it were killed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["main"]

PAUSE = 0.2  # seconds between two lines


def main() -> int:
    """The exit code: 128 and the signal after one, 1 for an error that was told."""
    tell = _channel()
    task = json.loads(_first_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return _run(task["experiment"], task["arguments"], tell)
    except KeyboardInterrupt:
        return 130


def _run(experiment: str, arguments: dict[str, Any], tell: Callable[..., None]) -> int:
    from samplers import Interrupted, InvalidInput, McmcTextError

    run = getattr(importlib.import_module(f"experiments.{experiment}"), experiment)
    told = _Steps(tell)
    try:
        run(**arguments, progress=told)
    except Interrupted as stop:
        return 128 + stop.signal
    except McmcTextError as error:
        tell(error=str(error), bad_input=isinstance(error, InvalidInput))
        return 1
    finally:
        told.flush()
    return 0


class _Steps:
    """Counts steps and tells them, not too often."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self.tell, self.steps, self.last = tell, 0, time.monotonic()

    def __call__(self, steps: int) -> None:
        self.steps += steps
        if time.monotonic() - self.last > PAUSE:
            self.flush()

    def flush(self) -> None:
        self.tell(steps=self.steps)
        self.steps, self.last = 0, time.monotonic()


def _channel() -> Callable[..., None]:
    """Writes lines to the parent. Whatever else is printed here goes to stderr."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**facts: Any) -> None:
        lines.write(json.dumps(facts) + "\n")
        lines.flush()

    return tell


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
