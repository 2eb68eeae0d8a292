"""Ctrl-C and SIGTERM, told to a run that can finish its step and keep what it has."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_signals"]

Stop = Callable[[], int | None]
"""The number of the signal that asked to stop, ``None`` as long as none did."""


@contextmanager
def stop_signals(*, caught: bool = True) -> Iterator[Stop]:
    """Catch the first SIGINT or SIGTERM inside the block; a second one does at once what it does without us.

    Python delivers signals to the main thread alone; elsewhere, or not ``caught``, nothing is changed. Nor is a signal
    that is ignored (a shell lets its background jobs ignore SIGINT), or handled by what is not Python.
    """
    received: list[int] = []
    if not caught or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
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
