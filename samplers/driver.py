"""Run a kernel: step by step (``iterate``) or as a whole with shards, burn-in, thinning and records (``sample``)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from samplers.energies import term_names
from samplers.errors import EnergyError, InvalidInput
from samplers.progress import progress_bar
from samplers.randomness import generator
from samplers.trace import Trace, TraceBuilder
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["Observer", "ObserverGuard", "begin", "check_run", "iterate", "sample"]

Observer = Callable[[int, ChainState, StepInfo], None]
"""Called as ``observer(step, state, info)`` after each step; what it raises becomes one warning."""


def begin(kernel: Kernel, energy: Energy, x0: Tensor, *, first_row: int = 0) -> ChainState:
    """The kernel's start state; an ``EnergyError`` carries step -1."""
    with torch.inference_mode(), _located(-1, first_row):
        return kernel.init(x0, energy)


def iterate(
    kernel: Kernel,
    energy: Energy,
    start: Tensor | ChainState,
    *,
    steps: int,
    rng: torch.Generator,
    beta: float | Callable[[int], float] = 1.0,
    first_row: int = 0,
) -> Iterator[tuple[int, ChainState, StepInfo]]:
    """Yield ``(step, state, info)`` for ``step`` in ``0..steps-1`` from states ``[chains, ...]`` or a ``ChainState``.

    ``beta`` is a number or a function of the step; ``first_row`` is the number that errors give to the first chain.
    Raises ``EnergyError`` with its ``step`` filled in.
    """
    state = start if isinstance(start, ChainState) else begin(kernel, energy, start, first_row=first_row)
    for step in range(steps):
        with torch.inference_mode(), _located(step, first_row):
            state, info = kernel.step(state, energy, rng, beta=beta(step) if callable(beta) else beta)
        yield step, state, info


def sample(
    kernel: Kernel,
    energy: Energy,
    x0: Tensor,
    *,
    steps: int,
    warmup: int = 0,
    thin: int = 1,
    seed: int = 0,
    shard_size: int = 256,
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> Trace:
    """Draw from ``exp(-energy)`` with ``kernel``, one chain for each row of ``x0``.

    Main arguments
        ``x0 [chains, ...]`` start states; ``steps`` in all, of which the first ``warmup`` are not kept; of the rest
        every ``thin``-th is. Rejected steps repeat the state and are kept like any other.
    Other arguments
        Chains are run in shards of ``shard_size`` rows of ``x0``. The generator of shard ``k`` depends on
        ``(seed, k)`` alone, so shards can be computed anywhere in any order; ``shard_size`` is part of what a seed
        means. ``observers`` see every step and can never break a run. ``progress`` shows a bar on stderr if that is
        a terminal.
    Returns
        ``Trace`` with ``(steps - warmup) // thin`` draws a chain.
    Raises
        ``InvalidInput`` before the first step; ``EnergyError`` and ``ProposalError`` from it on.
    """
    check_run(x0, steps=steps, warmup=warmup, thin=thin, shard_size=shard_size)
    notify = ObserverGuard(observers)
    shards = []
    with progress_bar(steps * -(-len(x0) // shard_size), shown=progress) as bar:
        for index, start in enumerate(x0.split(shard_size)):
            record = TraceBuilder(kernel.kinds, term_names(energy), steps=steps, warmup=warmup, thin=thin)
            rng = generator(seed, index, x0.device)
            for step, state, info in iterate(kernel, energy, start, steps=steps, rng=rng, first_row=index * shard_size):
                record.add(step, state, info)
                notify(step, state, info)
                bar.update()
            shards.append(record.finish(state))
    return Trace.join(shards, seed=seed, observer_failures=notify.failures)


def check_run(x0: Tensor, *, steps: int, warmup: int = 0, thin: int = 1, shard_size: int) -> None:
    """Raise ``InvalidInput`` unless there is a chain with a state and at least one draw of it would be kept."""
    if x0.dim() == 0 or x0.numel() == 0:
        raise InvalidInput(f"x0 has shape {list(x0.shape)}; its first dimension is the chain, and none may be 0")
    for name, value in (("steps", steps), ("thin", thin), ("shard_size", shard_size)):
        if value < 1:
            raise InvalidInput(f"{name} is {value}; give at least 1")
    if warmup < 0:
        raise InvalidInput(f"warmup is {warmup}; give 0 or more")
    if warmup >= steps:
        raise InvalidInput(f"warmup is {warmup} of {steps} steps; leave at least one step to keep")
    if thin > steps - warmup:
        raise InvalidInput(f"thin is {thin}, but only {steps - warmup} steps follow the warmup; nothing would be kept")


@contextmanager
def _located(step: int, first_row: int) -> Iterator[None]:
    try:
        yield
    except EnergyError as error:
        error.step, error.rows = step, [row + first_row for row in error.rows]
        raise


class ObserverGuard:
    """Calls observers; a failure is counted and told once, and never reaches the sampler."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers, self.failures, self.told = observers, 0, False

    def __call__(self, step: int, state: ChainState, info: StepInfo) -> None:
        for observer in self.observers:
            try:
                observer(step, state, info)
            except Exception as error:
                self.failures += 1
                if not self.told:
                    self.told = True  # before warning: a warning may itself be turned into an error
                    self._tell(step, error)

    @staticmethod
    def _tell(step: int, error: Exception) -> None:
        with suppress(Warning):
            warnings.warn(f"an observer raised {type(error).__name__} at step {step}: {error}", stacklevel=4)
