"""A function in a process of its own, with bounds on time and memory: whatever becomes of it is an outcome."""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["forked"]

MEMORY = 6 * 2**30  # bytes


def forked(run: Callable[[Path], dict[str, Any]], seconds: int) -> dict[str, Any]:
    """``run(folder)``, an object of JSON; ``{"outcome": "died", "why": ...}`` where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        if (child := os.fork()) == 0:
            try:
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                signal.alarm(seconds)
                with open(os.devnull, "w") as null:
                    os.dup2(null.fileno(), 1)
                    os.dup2(null.fileno(), 2)
                answer.write_text(json.dumps(run(Path(folder))))
            except BaseException as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
                answer.write_text(json.dumps({"outcome": "not built" if _unbuilt(error) else "died", "why": reason}))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if answer.exists() and answer.stat().st_size:
            return json.loads(answer.read_text())
    return {"outcome": "died", "why": f"the process ended with {os.waitstatus_to_exitcode(status)}"}


def _unbuilt(error: BaseException) -> bool:
    return type(error).__name__ == "Unbuilt"
