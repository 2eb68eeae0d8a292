"""What a model's logits say of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.randomness import cached_parts

__all__ = ["at_least_float32", "nats"]


def nats(logits: Tensor, tokens: Tensor) -> Tensor:
    """``float64 [rows, K]``: ``-log p`` of ``tokens [rows, K]`` under ``logits [rows, vocabulary]``.

    The softmax is taken in the model's precision, float32 at least: to some 1e-6 nats in that, as the logits are.
    """
    parts = zip(cached_parts(at_least_float32(logits)), cached_parts(tokens), strict=True)
    return -torch.cat([part.log_softmax(dim=1).gather(1, wanted) for part, wanted in parts]).double()


def at_least_float32(logits: Tensor) -> Tensor:
    """The logits, those of half precision widened."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
