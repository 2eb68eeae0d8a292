"""What a model that reads from left to right keeps of the texts that it has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from transformers import DynamicCache

__all__ = ["Layers", "Prefixes", "as_cache", "expanded", "kept_layers", "together"]

Layers = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of each layer, ``[rows, heads, tokens, size]``."""


@dataclass(frozen=True)
class Prefixes:
    """Keys and values of ``context`` tokens and of the first ``counts int64 [rows]`` tokens of a text behind them.

    Rows stand at the right end of ``layers``, so that texts of unlike length go on in one column, and distances
    between tokens are what they were. ``real bool [rows, tokens]`` is False where nothing stands; ``None``: nowhere.
    """

    layers: Layers
    counts: Tensor
    context: int
    real: Tensor | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, rows: Tensor, counts: Tensor | None = None) -> Prefixes:
        """The given ``rows``, in any order and number, and the first ``counts`` (default: all) tokens of each."""
        if counts is None:
            layers = [tuple(part.index_select(0, rows) for part in layer) for layer in self.layers]
            real = None if self.real is None else self.real[rows]
            return Prefixes(layers, self.counts[rows], self.context, real)  # type: ignore[arg-type]
        held, wanted = self.context + self.counts[rows], self.context + counts
        width, longest = self.layers[0][0].shape[2], int(wanted.max())
        place = torch.arange(longest, device=rows.device) - (longest - wanted).unsqueeze(1)
        column = place.clamp(min=0) + (width - held).unsqueeze(1)
        row = rows.unsqueeze(1)
        layers = [tuple(part.transpose(1, 2)[row, column].transpose(1, 2) for part in layer) for layer in self.layers]
        real = place >= 0
        return Prefixes(layers, counts, self.context, None if bool(real.all()) else real)  # type: ignore[arg-type]

    @staticmethod
    def join(parts: Sequence[Prefixes]) -> Prefixes:
        """All rows of the parts, which have one context."""
        if len(parts) == 1:
            return parts[0]
        longest = max(part.layers[0][0].shape[2] for part in parts)
        layers = []
        for kinds in zip(*(part.layers for part in parts), strict=True):
            widened = [[pad(each, (0, 0, longest - each.shape[2], 0)) for each in layer] for layer in kinds]
            layers.append(tuple(map(torch.cat, zip(*widened, strict=True))))
        counts, context = torch.cat([part.counts for part in parts]), parts[0].context
        real = torch.arange(longest, device=counts.device) >= (longest - context - counts).unsqueeze(1)
        return Prefixes(layers, counts, context, None if bool(real.all()) else real)  # type: ignore[arg-type]

    def grown(self, layers: Layers, tokens: int) -> Prefixes:
        """After a pass that read ``tokens`` more of each row and gave ``layers``."""
        real = None if self.real is None else pad(self.real, (0, tokens), value=True)
        return Prefixes(layers, self.counts + tokens, self.context, real)

    def attention(self, tokens: int) -> Tensor | None:
        """``int64 [rows, held + tokens]`` for a pass over ``tokens`` more: 0 where nothing is; ``None``: nowhere."""
        return None if self.real is None else pad(self.real, (0, tokens), value=True).long()


def as_cache(layers: Layers) -> DynamicCache:
    """A cache that holds ``layers`` themselves (``DynamicCache(layers)`` has a copy of each)."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def expanded(layers: Layers, rows: int) -> Layers:
    """Of one row, seen by ``rows`` of them, not copied."""
    return [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers]


def kept_layers(cache: DynamicCache) -> Layers:
    """All that ``cache`` holds, not copied."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def together(counts: Tensor, ragged: bool) -> list[Tensor]:
    """Numbers of the rows that may share a pass behind prefixes of ``counts [rows]`` tokens: all, or of one length."""
    rows = torch.arange(len(counts), device=counts.device)
    return [rows] if ragged else [rows[counts == count] for count in counts.unique().tolist()]
