"""What a model's logits say of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from samplers.randomness import cached_parts

__all__ = ["at_least_float32", "beside", "nats"]


def nats(logits: Iterable[Tensor], tokens: Tensor) -> Tensor:
    """``float64 [rows, K]``: ``-log p`` of ``tokens [rows, K]`` under ``logits [rows, vocabulary]``, given in parts.

    The softmax is taken in the model's precision, float32 at least: to some 1e-6 nats in that, as the logits are.
    """
    told = [part.log_softmax(dim=1).gather(1, wanted) for part, wanted in beside(logits, tokens)]
    return -torch.cat(told).double()


def beside(logits: Iterable[Tensor], *columns: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of the logits of which a cache holds all that is made, float32 at least, and these rows of ``columns``."""
    start = 0
    for each in logits:
        for part in cached_parts(at_least_float32(each)):
            yield part, *(column[start : start + len(part)] for column in columns)
            start += len(part)


def at_least_float32(logits: Tensor) -> Tensor:
    """The logits, those of half precision widened."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
