"""Running a kernel: shards of chains, kept draws, diagnostics, signals, observers."""

from samplers.run.chains import start_chains
from samplers.run.progress import progress_bar
from samplers.run.read_populations import stored_populations
from samplers.run.signals import stop_signals
from samplers.run.start_check import forbidding_terms
from samplers.run.stored import stored_annealed, stored_draws, stored_traces

__all__ = [
    "forbidding_terms",
    "progress_bar",
    "start_chains",
    "stop_signals",
    "stored_annealed",
    "stored_draws",
    "stored_populations",
    "stored_traces",
]
