"""A cache of the last two calls of a function of states."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["LastCallCache"]

T = TypeVar("T")


class LastCallCache(Generic[T]):
    """``function(x)`` with its last two results cached; callers must not change a result.

    A step asks about the state that the step before ended in, and a proposal, its reverse and the energy ask about the
    same states. Comparing states costs far less than a call for one chain, and little for many chains.
    """

    def __init__(self, function: Callable[[Tensor], T]) -> None:
        self._function = function
        self._results: deque[tuple[Tensor, T]] = deque(maxlen=2)

    def config(self) -> dict[str, Any]:
        """What results depend on: the function, not its last calls."""
        return {"function": self._function}

    def __call__(self, x: Tensor) -> T:
        for known, result in self._results:
            if torch.equal(known, x):
                return result
        result = self._function(x)
        self._results.append((x.clone(), result))
        return result
