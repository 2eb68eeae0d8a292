"""Which rows may share a forward pass, found out by trying."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from torch import Tensor

from lm_adapters.forward.batching import Together, passes

__all__ = ["rows_of_a_pass"]


def rows_of_a_pass(run: Callable[[Tensor], Tensor], sizes: Sequence[int], dtype: torch.dtype) -> Together:
    """In some models padding, or other rows, change what a row gives: the first of ``Together`` in which nothing does.

    ``run`` makes one pass over the rows ``int64 [part]`` of ``sizes`` tokens and returns ``[part, numbers]``; it may
    raise ``ValueError`` for rows that it cannot read together. ``dtype`` is that of the weights.
    """
    tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 0.05  # of the largest number
    with torch.inference_mode():
        alone = _all_rows(run, sizes, "one")
        largest = float(alone.abs().max())
        for each in get_args(Together):
            try:
                found = _all_rows(run, sizes, each)
            except ValueError:
                continue
            if float((found - alone).abs().max()) <= tolerance * largest:
                together: Together = each
                return together
    return "one"


def _all_rows(run: Callable[[Tensor], Tensor], sizes: Sequence[int], together: Together) -> Tensor:
    parts = list(passes(torch.tensor(sizes), sys.maxsize, together))
    return torch.cat([run(part) for part in parts])[torch.cat(parts).argsort()]
