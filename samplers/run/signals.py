"""Ctrl-C, SIGTERM and a terminal that goes away as a flag, so that a run can finish its step and commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_signals"]

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

Stop = Callable[[], int | None]
"""Returns the number of the signal received, or ``None``."""


@contextmanager
def stop_signals(*, caught: bool = True) -> Iterator[Stop]:
    """Catch the first SIGINT, SIGTERM or SIGHUP inside the block. A second signal gets Python's default handling.

    Handlers are changed in the main thread only, the one to which Python delivers signals, and only if ``caught``.
    Signals that are ignored (as SIGINT is in background jobs of a shell, and SIGHUP under nohup) or handled outside of
    Python are left alone.
    """
    received: list[int] = []
    if not caught or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def receive(number: int, _: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in before:
            signal.signal(number, receive)
        yield lambda: received[0] if received else None
    finally:
        restore()
