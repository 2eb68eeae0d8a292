"""Split rows into forward passes of bounded size, rows of similar length together so that little is padding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from samplers import InvalidInput

__all__ = ["Together", "check_tokens_per_pass", "passes"]

Together = Literal["any", "equal", "one"]
GPU_TOKENS = 65536
CPU_ACTIVATIONS = 2**19  # numbers in one hidden state of a pass: with those of its layers, about a processor's cache
CPU_TOKENS = (1024, 4096)  # fewer waste time between operators, more gain nothing


def check_tokens_per_pass(tokens_per_pass: int | None, device: torch.device, hidden_size: int) -> int:
    """``tokens_per_pass``, by default within 5 % of the fastest for a model of that ``hidden_size`` on ``device``.

    It depends on the model's shape alone and not on a measurement, so that a seed has the same passes in every run.
    Raises ``InvalidInput`` below 1.
    """
    if tokens_per_pass is None:
        fewest, most = CPU_TOKENS
        return min(most, max(fewest, CPU_ACTIVATIONS // hidden_size)) if device.type == "cpu" else GPU_TOKENS
    if tokens_per_pass < 1:
        raise InvalidInput(f"tokens_per_pass is {tokens_per_pass}; give at least 1")
    return tokens_per_pass


def passes(widths: Tensor, tokens_per_pass: int, together: Together = "any") -> Iterator[Tensor]:
    """For each pass, row numbers ``int64 [rows of the pass]``; ``widths [rows]`` are the tokens that each row needs.

    A pass holds at most ``tokens_per_pass`` tokens, padding included, but at least one row. Every row is in exactly one
    pass; if one pass holds them all, they keep their order. ``together``: which rows may share a pass, ``any``, those
    of ``equal`` width, or only ``one``.
    """
    if together == "one":
        yield from torch.arange(len(widths), device=widths.device).split(1)
        return
    if together == "equal":
        for width in widths.unique().tolist():
            yield from (widths == width).nonzero().squeeze(1).split(max(1, tokens_per_pass // width))
        return
    if len(widths) and len(widths) * int(widths.max()) <= tokens_per_pass:
        yield torch.arange(len(widths), device=widths.device)
        return
    order = widths.argsort(stable=True)
    width = widths[order].tolist()
    start = 0
    while start < len(width):
        # Rows are sorted by width, so the tokens of a pass grow with its last row.
        stop = bisect_right(range(len(width)), tokens_per_pass, lo=start + 1, key=partial(_tokens, width, start))
        yield order[start:stop]
        start = stop


def _tokens(width: list[int], start: int, last: int) -> int:
    """Tokens of a pass over the rows ``start`` to ``last`` of those sorted by ``width``."""
    return (last + 1 - start) * width[last]
