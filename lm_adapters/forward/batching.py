"""Rows cut into forward passes of bounded size, rows of like length together so that little is padded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import torch
from torch import Tensor

from samplers import InvalidInput

__all__ = ["checked_tokens", "passes"]

CACHED, SATURATING = 1024, 65536  # tokens that keep a processor's cache, and a GPU, busy


def checked_tokens(tokens_per_pass: int | None, device: torch.device) -> int:
    """``tokens_per_pass``, or near the fastest on the device. Raises ``InvalidInput`` below 1."""
    if tokens_per_pass is None:
        return CACHED if device.type == "cpu" else SATURATING
    if tokens_per_pass < 1:
        raise InvalidInput(f"tokens_per_pass is {tokens_per_pass}; give at least 1")
    return tokens_per_pass


def passes(widths: Tensor, tokens_per_pass: int) -> Iterator[Tensor]:
    """Indices ``int64 [rows of the pass]`` into ``widths [rows]``, the tokens that each row needs.

    A pass holds at most ``tokens_per_pass`` tokens, padding included; one row always goes. Every row is in one pass;
    where all go into one, they keep their order.
    """
    if len(widths) and len(widths) * int(widths.max()) <= tokens_per_pass:
        yield torch.arange(len(widths), device=widths.device)
        return
    order = widths.argsort(stable=True)
    width = widths[order].tolist()
    start = 0
    while start < len(width):
        # The tokens of a pass grow with its last row, as rows are sorted by width.
        stop = bisect_right(
            range(len(width)),
            tokens_per_pass,
            lo=start + 1,
            key=lambda last, start=start: (last + 1 - start) * width[last],
        )
        yield order[start:stop]
        start = stop
