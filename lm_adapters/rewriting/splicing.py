"""Tokens taken out of texts, and others put in their place, each row at a place of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace

__all__ = ["joined", "without"]


def without(values: Tensor, start: Tensor, size: Tensor, fill: int) -> Tensor:
    """``values [rows, width]`` without ``size`` of them from ``start`` on, then ``fill``."""
    column = torch.arange(values.shape[1], device=values.device)
    source = column + (column >= start.unsqueeze(1)) * size.unsqueeze(1)
    return pad(values, (0, 1), value=fill).gather(1, source.clamp(max=values.shape[1]))


def joined(space: TextSpace, x: Tensor, start: Tensor, size: Tensor, y: Tensor) -> Tensor:
    """``x int64 [rows, width]`` with ``y int64 [rows, any width]``, padded, in place of ``size`` tokens from ``start``.

    The new texts must not be longer than ``width``.
    """
    at, new_size = start.unsqueeze(1), space.lengths(y).unsqueeze(1)
    column = torch.arange(x.shape[1], device=x.device)
    kept = without(x, start, size, space.pad_id)
    kept = kept.gather(1, torch.where(column < at, column, (column - new_size).clamp(min=0)))
    inside = (column >= at) & (column < at + new_size)
    return kept.where(~inside, pad(y, (0, 1)).gather(1, (column - at).clamp(min=0, max=y.shape[1])))
