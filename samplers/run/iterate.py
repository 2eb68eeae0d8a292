"""A kernel's chains, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from samplers.energy.row_numbers import row_numbers
from samplers.errors import EnergyError
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["iterate", "start_chains"]


def start_chains(kernel: Kernel, energy: Energy, x0: Tensor, *, first_row: int = 0) -> ChainState:
    """The kernel's state before the first step.

    ``first_row`` is the number that errors give to the first chain. Raises ``EnergyError`` with ``step`` -1.
    """
    with torch.inference_mode(), _errors_located(-1, first_row):
        return kernel.init(x0, energy)


def iterate(
    kernel: Kernel,
    energy: Energy,
    start: Tensor | ChainState,
    *,
    steps: int,
    rng: torch.Generator,
    beta: float | Callable[[int], float] = 1.0,
    first: int = 0,
    first_row: int = 0,
) -> Iterator[tuple[int, ChainState, StepInfo]]:
    """Yield ``(step, state, info)`` for ``step`` in ``first..steps-1``.

    ``start`` is ``[chains, ...]`` states or a ``ChainState``; ``beta`` is a number or a function of the step;
    ``first_row`` is the number that errors give to the first chain.
    Raises ``EnergyError`` with its ``step`` filled in.
    """
    state = start if isinstance(start, ChainState) else start_chains(kernel, energy, start, first_row=first_row)
    for step in range(first, steps):
        with torch.inference_mode(), _errors_located(step, first_row):
            state, info = kernel.step(state, energy, rng, beta=beta(step) if callable(beta) else beta)
        yield step, state, info


@contextmanager
def _errors_located(step: int, first_row: int) -> Iterator[None]:
    """Give an ``EnergyError`` its step, and its rows the numbers of the chains."""
    with row_numbers(lambda row: row + first_row):
        try:
            yield
        except EnergyError as error:
            error.step = step
            raise
