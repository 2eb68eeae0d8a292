"""Token negative log-probabilities from logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from samplers.randomness import cached_parts, joined

__all__ = ["aligned_parts", "at_least_float32", "token_nlls"]


def token_nlls(logits: Iterable[Tensor], tokens: Tensor) -> Tensor:
    """``float64 [rows, K]``: ``-log p`` in nats of ``tokens int64 [rows, K]`` under ``logits [rows, vocabulary]``.

    ``logits`` come in parts of rows. The softmax is taken in the model's precision, float32 at least, and so exact to
    about 1e-6 nats.
    """
    log_probs = [part.log_softmax(dim=1).gather(1, wanted) for part, wanted in aligned_parts(logits, tokens)]
    return -joined(log_probs).double()


def aligned_parts(logits: Iterable[Tensor], *columns: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """``logits`` in parts that fit a CPU's cache, as float32 at least, each with its rows of every one of ``columns``.

    ``logits``: parts ``[part, vocabulary]`` of ``rows`` in all; ``columns``: tensors ``[rows, ...]``.
    """
    start = 0
    for each in logits:
        for part in cached_parts(at_least_float32(each)):
            stop = start + len(part)
            yield part, *(each if stop - start == len(each) else each[start:stop] for each in columns)
            start += len(part)


def at_least_float32(logits: Tensor) -> Tensor:
    """``logits``, in float32 where they are in half precision."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
