"""Texts as a model reads them: special tokens around each, shorter rows padded and masked, and how much fits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_adapters.text import TextSpace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["framed", "positions"]


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


def positions(body: PreTrainedModel) -> int:
    """Tokens, special ones included, that a model without its head takes; relative positions (T5) have no end."""
    most = getattr(body.config, "max_position_embeddings", None)
    if most is None:
        return sys.maxsize
    # RoBERTa counts positions from the padding id onwards.
    table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    offset = table.padding_idx + 1 if table is not None and table.padding_idx is not None else 0
    return most - offset
