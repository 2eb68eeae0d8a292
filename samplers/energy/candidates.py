"""Candidate states, which differ from a chain's state at one site, and how to cut them into calls of an energy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["rectangles", "replaced"]


def replaced(x: Tensor, site: Tensor, values: Tensor) -> Tensor:
    """``[chains * K, sites]``: ``x`` with column ``site [chains]`` set to each of ``values [chains, K]`` in turn."""
    new = x.unsqueeze(1).repeat(1, values.shape[1], 1)
    return new.scatter_(2, site.reshape(-1, 1, 1).expand(*values.shape, 1), values.unsqueeze(2)).flatten(0, 1)


def rectangles(wanted: Tensor, *, by_chain: bool, max_rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Calls that cover the true entries of ``wanted`` (``bool [chains, K]``), as row-major indices into it.

    Each call is ``int64 [rows, columns]`` with all candidates of a row from one chain, and ``bool [rows, columns]``:
    false at repeats that fill up the rectangle. ``by_chain`` keeps the candidates of a chain in one row; otherwise each
    candidate is a row, so that no repeats are needed and a call may end in the middle of a chain.
    """
    if not by_chain:
        numbers = wanted.flatten().nonzero()
        real = torch.ones_like(numbers, dtype=torch.bool)
    else:
        counts = wanted.sum(dim=1, keepdim=True)
        if int(counts.max()) == 0:
            return
        columns = (~wanted).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts.max())]
        real = torch.arange(columns.shape[1], device=wanted.device) < counts
        chains = torch.arange(len(wanted), device=wanted.device).unsqueeze(1)
        numbers = torch.where(real, columns, columns[:, :1]) + chains * wanted.shape[1]
        numbers, real = numbers[real[:, 0]], real[real[:, 0]]
    size = max(1, max_rows // max(1, numbers.shape[1]))
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size], real[start : start + size]
