"""Observers of a run: they see every step and cannot break it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

from samplers.types import ChainState, StepInfo

__all__ = ["Observer", "ObserverGuard"]

Observer = Callable[[int, ChainState, StepInfo], None]
"""Called as ``observer(step, state, info)`` after each step; what it raises becomes one warning."""


class ObserverGuard:
    """Calls observers. Failures are counted; the first one is a warning, and none reaches the sampler."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers, self.failures = observers, 0

    def __call__(self, step: int, state: ChainState, info: StepInfo) -> None:
        for observer in self.observers:
            try:
                observer(step, state, info)
            except Exception as error:
                self.failures += 1
                if self.failures == 1:
                    with suppress(Warning):  # a warning may itself be turned into an error
                        self._warn(step, error)

    @staticmethod
    def _warn(step: int, error: Exception) -> None:
        warnings.warn(f"an observer raised {type(error).__name__} at step {step}: {error}", stacklevel=4)
