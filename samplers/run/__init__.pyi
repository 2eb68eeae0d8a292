from .chains import start_chains
from .progress import progress_bar
from .read_populations import stored_populations
from .signals import stop_signals
from .start_check import forbidding_terms
from .stored import stored_annealed, stored_draws, stored_states, stored_traces

__all__ = [
    "forbidding_terms",
    "progress_bar",
    "start_chains",
    "stop_signals",
    "stored_annealed",
    "stored_draws",
    "stored_populations",
    "stored_states",
    "stored_traces",
]
