"""Make a Llama wider and deeper, or a T5 deeper, without changing what it computes."""

from __future__ import annotations

import math
import re
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["grow"]

LAYER = re.compile(r"(.*?\.?(?:layers|block)\.)(\d+)(\..*)")  # of a Llama, of either half of a T5


@torch.no_grad()
def grow(model: PreTrainedModel, small: PreTrainedModel, writes: tuple[str, ...]) -> None:
    """Let ``model``, freshly drawn and at least as large, compute what ``small`` does.

    ``writes`` are the names of the matrices that write to the residual stream. Why: a model that has learnt for hours
    is worth more than a random start, in another shape too. As in Wang et al. 2023 (arXiv:2310.07999): embeddings have
    zeros in the new channels, nothing is written there yet, new heads and new feed-forward units write nothing, and the
    new layers, spread evenly between the old ones, write nothing at all. What reads new channels and units keeps its
    random weights: that is where learning begins. A root mean square over more channels is smaller by ``shrink``, which
    the norms give back. Heads must have the same size in both; a T5, whose output depends on its width otherwise too,
    must have the same width.
    """
    ours: dict[str, Tensor] = dict(model.named_parameters())
    theirs: dict[str, Tensor] = dict(small.named_parameters())
    shrink = math.sqrt(small.config.hidden_size / model.config.hidden_size)
    nn.init.zeros_(cast(nn.Embedding, model.get_input_embeddings()).weight)
    for name, weight in ours.items():
        if name.split(".")[-2] in writes:
            weight.zero_()
    for name, weight in theirs.items():
        new = ours[_place(name, set(theirs), set(ours))]
        if weight.dim() == 1:
            new.fill_(shrink * weight.mean().item())
            weight = shrink * weight
        new[tuple(slice(size) for size in weight.shape)] = weight


def _place(name: str, theirs: set[str], ours: set[str]) -> str:
    """The name, in the larger model, of what the smaller one calls ``name``."""
    found = LAYER.fullmatch(name)
    if found is None:
        return name
    stack, layer, rest = found.groups()
    return f"{stack}{int(layer) * _layers(stack, ours) // _layers(stack, theirs)}{rest}"


def _layers(stack: str, names: set[str]) -> int:
    found = (LAYER.fullmatch(name) for name in names if name.startswith(stack))
    return len({layer[2] for layer in found if layer})
