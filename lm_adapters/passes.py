"""Rows cut into forward passes of bounded size, rows of like length together so that little is padded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from torch import Tensor

__all__ = ["passes"]


def passes(widths: Tensor, tokens_per_pass: int) -> Iterator[Tensor]:
    """Indices ``int64 [rows of the pass]`` into ``widths [rows]``, the tokens that each row needs.

    A pass holds at most ``tokens_per_pass`` tokens, padding included; one row always goes. Every row is in one pass.
    """
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
