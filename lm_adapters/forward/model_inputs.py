"""Model inputs from states: special tokens added, shorter rows padded and masked; and how many tokens fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.text import TextSpace

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["max_positions", "with_special_tokens"]


def with_special_tokens(space: TextSpace, x: Tensor, first: Sequence[int] = ()) -> tuple[Tensor, Tensor | None]:
    """Input ids and attention mask, ``int64 [rows, tokens]`` each, of states ``x``, with ``first`` before each text.

    The mask is ``None`` where no row is padded.
    """
    before, after = [*space.prefix, *first], space.suffix
    lengths = space.lengths(x)
    counts = lengths.tolist()
    width = max(counts)
    ids = x if width == x.shape[1] else x[:, :width]
    for token in reversed(before):
        ids = pad(ids, (1, 0), value=token)
    if min(counts) == width:
        for token in after:
            ids = pad(ids, (0, 1), value=token)
        return ids, None
    ids = pad(ids, (0, len(after)), value=space.pad_id)
    for offset, token in enumerate(after, len(before)):
        ids.scatter_(1, (lengths + offset).unsqueeze(1), token)
    total = lengths + len(before) + len(after)
    return ids, (torch.arange(ids.shape[1], device=x.device) < total.unsqueeze(1)).long()


def max_positions(body: PreTrainedModel) -> int:
    """The most tokens, special ones included, that a model without its head takes.

    ``sys.maxsize`` for relative positions (T5), which have no end.
    """
    most: int | None = getattr(getattr(body, "config", None), "max_position_embeddings", None)
    if most is None or most <= 0:  # XLNet says -1
        return sys.maxsize
    # RoBERTa counts positions from the padding id onwards.
    table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    padding: int | None = getattr(table, "padding_idx", None)
    return most if padding is None else most - padding - 1
