"""What every test shares: one thread, as timings and sums depend on their number, Ctrl-C, its own cache."""

import atexit
import os
import shutil
import signal
import tempfile

import pytest
import torch

torch.set_num_threads(1)
# A shell that runs the tests in the background makes them, and the processes that they start, deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Probes of models are kept there; models from the hub stay where they are.
os.environ.setdefault("HF_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not survive the machine: tests that write thousands of them would wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
