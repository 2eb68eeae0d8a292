"""A pure function of states that is asked for the same ones again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["Remembered"]

T = TypeVar("T")


class Remembered(Generic[T]):
    """``function`` with its last two answers, which nobody may change.

    A step asks of its start what the step before asked of its end, and a proposal, its way back and the energy ask
    alike. To compare costs far less than to ask for a single chain, and little for many.
    """

    def __init__(self, function: Callable[[Tensor], T]) -> None:
        self._function = function
        self._answers: deque[tuple[Tensor, T]] = deque(maxlen=2)

    def config(self) -> dict[str, Any]:
        """What the answers depend on: the function, not what it was asked last."""
        return {"function": self._function}

    def __call__(self, x: Tensor) -> T:
        for known, answer in self._answers:
            if torch.equal(known, x):
                return answer
        answer = self._function(x)
        self._answers.append((x.clone(), answer))
        return answer
