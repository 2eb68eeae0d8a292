"""Key-value caches of models that read from left to right: rows selected, cut, joined and extended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = ["Layers", "Prefixes", "as_cache", "batchable_rows", "cache_layers", "expand_layers"]

Layers = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of each layer, ``[rows, heads, tokens, size]``."""


@dataclass(frozen=True)
class Prefixes:
    """Keys and values of ``context`` tokens and of the first ``counts int64 [rows]`` tokens of the text after them.

    Rows are aligned at the right end of ``layers``, so that texts of different lengths continue in one column, and
    distances between tokens are unchanged. ``real bool [rows, tokens]`` is False at padding; ``None``: no padding.
    ``beside``: those of another model that has read the same tokens of the same rows.
    """

    layers: Layers
    counts: Tensor
    context: int
    real: Tensor | None = None
    beside: Prefixes | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, rows: Tensor, counts: Tensor | None = None) -> Prefixes:
        """``rows int64 [n]``, in any order and with repeats, cut to the first ``counts [n]`` (default: all) tokens."""
        beside = None if self.beside is None else self.beside.take(rows, counts)
        if counts is None:
            layers = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.layers]
            real = None if self.real is None else self.real[rows]
            return Prefixes(layers, self.counts[rows], self.context, real, beside)
        held, wanted = self.context + self.counts[rows], self.context + counts
        width, longest = self.layers[0][0].shape[2], int(wanted.max())
        place = torch.arange(longest, device=rows.device) - (longest - wanted).unsqueeze(1)
        column = place.clamp(min=0) + (width - held).unsqueeze(1)
        row = rows.unsqueeze(1)

        def cut(states: Tensor) -> Tensor:
            return states.transpose(1, 2)[row, column].transpose(1, 2)

        real = place >= 0
        layers = [(cut(keys), cut(values)) for keys, values in self.layers]
        return Prefixes(layers, counts, self.context, None if bool(real.all()) else real, beside)

    @staticmethod
    def join(parts: Sequence[Prefixes]) -> Prefixes:
        """All rows of ``parts``, which are of one model and share one context."""
        if len(parts) == 1:
            return parts[0]
        longest = max(part.layers[0][0].shape[2] for part in parts)

        def joined(states: Sequence[Tensor]) -> Tensor:
            return torch.cat([pad(each, (0, 0, longest - each.shape[2], 0)) for each in states])

        layers = []
        for same_layer in zip(*(part.layers for part in parts), strict=True):
            keys, values = zip(*same_layer, strict=True)
            layers.append((joined(keys), joined(values)))
        counts, context = torch.cat([part.counts for part in parts]), parts[0].context
        real = torch.arange(longest, device=counts.device) >= (longest - context - counts).unsqueeze(1)
        beside = [part.beside for part in parts if part.beside is not None]
        whole = None if bool(real.all()) else real
        return Prefixes(layers, counts, context, whole, Prefixes.join(beside) if beside else None)

    def extended(self, layers: Layers, tokens: int) -> Prefixes:
        """After a pass that read ``tokens`` more tokens of each row and returned ``layers``."""
        real = None if self.real is None else pad(self.real, (0, tokens), value=True)
        return Prefixes(layers, self.counts + tokens, self.context, real)

    def attention(self, tokens: int) -> Tensor | None:
        """Attention mask ``int64 [rows, cached + tokens]`` for a pass over ``tokens`` more; ``None``: no padding."""
        return None if self.real is None else pad(self.real, (0, tokens), value=True).long()


def as_cache(layers: Layers) -> DynamicCache:
    """A cache that holds ``layers`` without copying them (``DynamicCache(layers)`` copies each)."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def expand_layers(layers: Layers, rows: int) -> Layers:
    """Layers of one row as a view of ``rows`` equal rows, not copied."""
    return [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers]


def cache_layers(cache: DynamicCache) -> Layers:
    """Keys and values of all layers of ``cache``, not copied."""
    layers = cast(Any, cache.layers)
    return [(layer.keys, layer.values) for layer in layers]


def batchable_rows(counts: Tensor, ragged: bool) -> list[Tensor]:
    """Groups of row numbers that may share a pass after prefixes of ``counts int64 [rows]`` tokens.

    One group of all rows where the model is ``ragged``, else one for each length.
    """
    rows = torch.arange(len(counts), device=counts.device)
    return [rows] if ragged else [rows[counts == count] for count in counts.unique().tolist()]
