"""What a model's logits say of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.randomness import log_total

__all__ = ["at_least_float32", "nats"]


def nats(logits: Tensor, tokens: Tensor) -> Tensor:
    """``float64 [rows, K]``: ``-log p`` of ``tokens [rows, K]`` under ``logits [rows, vocabulary]``.

    The softmax is taken in the model's precision, float32 at least: to 1e-6 nats or so in that, as the logits are.
    """
    return log_total(at_least_float32(logits)) - logits.gather(1, tokens).double()


def at_least_float32(logits: Tensor) -> Tensor:
    """The logits, those of half precision widened."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
