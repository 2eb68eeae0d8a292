"""Dropout for any model, put on from outside and only while it is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["drop_channels"]


def drop_channels(model: nn.Module, names: tuple[str, ...], rate: float) -> None:
    """Drop channels from the outputs of the modules so named: for each text others, the same at all its positions.

    One mask for all positions (Gal and Ghahramani 2016, arXiv:1512.05287) needs a tenth of the random numbers. The
    outputs are ``[texts, positions, channels]``; nothing is dropped in evaluation mode.
    """

    def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        if not module.training:
            return output
        kept = torch.rand(output.shape[0], 1, output.shape[2], dtype=torch.float32, device=output.device) >= rate
        return output * (kept.to(output.dtype) / (1 - rate))

    if rate > 0:
        for path, module in model.named_modules():
            if path.rpartition(".")[2] in names:
                module.register_forward_hook(hook)
