"""Running a kernel: shards of chains, kept draws, diagnostics, signals, observers."""

from samplers.run.chains import start_chains
from samplers.run.progress import progress_bar
from samplers.run.signals import stop_signals

__all__ = ["progress_bar", "start_chains", "stop_signals"]
