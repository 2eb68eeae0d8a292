"""Texts as an encoder reads them: special tokens around each, shorter rows padded and masked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lm_adapters.text import TextSpace

__all__ = ["framed"]


def framed(space: TextSpace, x: Tensor, first: Sequence[int] = ()) -> tuple[Tensor, Tensor | None]:
    """Input ids and attention mask, ``int64 [rows, width]`` each, of the states ``x``; ``first`` stands before a text.

    There is no mask where no row is padded.
    """
    before, after = [*space.prefix, *first], space.suffix
    lengths = space.lengths(x)
    width = int(lengths.max())
    ids = x.new_full((len(x), len(before) + width + len(after)), space.pad_id)
    ids[:, : len(before)] = torch.tensor(before, device=x.device, dtype=x.dtype)
    ids[:, len(before) : len(before) + width] = x[:, :width]
    for offset, token in enumerate(after):
        ids.scatter_(1, (lengths + len(before) + offset).unsqueeze(1), token)
    if bool((lengths == width).all()):
        return ids, None
    total = lengths + len(before) + len(after)
    return ids, (torch.arange(ids.shape[1], device=x.device) < total.unsqueeze(1)).long()
