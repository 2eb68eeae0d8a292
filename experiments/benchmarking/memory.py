"""The most memory that a piece of work took."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["peak_memory"]

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what the kernel calls the peak resident set


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes of the device, or resident bytes of this process, at the worst moment of ``run``, models included.

    ``None`` where the system does not measure it (anything but Linux).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    _give_back()
    try:
        REFERENCES.write_text(RESET_PEAK)
    except OSError:
        run()
        return None
    run()
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def _give_back() -> None:
    """Freed memory that the C library holds on to would count as taken."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
