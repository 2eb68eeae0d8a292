"""What every test shares: one thread, as timings and sums depend on their number, and a Ctrl-C that works."""

import os
import signal

import pytest
import torch

torch.set_num_threads(1)
# A shell that runs the tests in the background makes them, and the processes that they start, deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not survive the machine: tests that write thousands of them would wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
