"""Observers of a run: they see every step and cannot break it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from samplers.types import ChainState, StepInfo

__all__ = ["BatchObserver", "Observer", "ObserverGuard", "StageObserver"]

Observer = Callable[[int, ChainState, StepInfo], None]
"""Called as ``observer(step, state, info)`` after each step; what it raises becomes one warning."""

StageObserver = Callable[[int, float, Tensor, Tensor], None]
"""Called as ``observer(population, t, x, energy)`` after each stage: at ``t`` of the path, energies of the target."""

BatchObserver = Callable[[int, Tensor, Tensor], None]
"""Called as ``observer(done, x, energy)`` after each batch: trials in all, and the draws kept of the last ones."""


class ObserverGuard:
    """Calls observers of the step, stage or batch ``of`` that number.

    Failures are counted; the first one is a warning, and none reaches the sampler.
    """

    def __init__(self, observers: Sequence[Callable[..., None]], of: str = "step") -> None:
        self.observers, self.of, self.failures = observers, of, 0

    def __call__(self, number: int, *seen: Any) -> None:
        for observer in self.observers:
            try:
                observer(number, *seen)
            except Exception as error:
                self.failures += 1
                if self.failures == 1:
                    with suppress(Warning):  # a warning may itself be turned into an error
                        self._warn(number, error)

    def _warn(self, number: int, error: Exception) -> None:
        warnings.warn(f"an observer raised {type(error).__name__} at {self.of} {number}: {error}", stacklevel=4)
