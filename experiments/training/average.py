"""The average of a model's weights along its training: better than any of them, at no cost in steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["move_average"]


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, window: float) -> None:
    """Move ``average`` towards ``model``: an exponential average over about ``window`` steps."""
    old: list[Tensor] = [*average.parameters()]
    new: list[Tensor] = [*model.parameters()]
    torch._foreach_lerp_(old, new, 1.0 / window)
