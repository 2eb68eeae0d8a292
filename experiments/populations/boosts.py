"""How much likelier a model that has not read the words that must come is made to write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import Autoregressive, Keywords, WordBoost

__all__ = ["boosts"]

TRIED = (4.0, 8.0, 12.0, 16.0, 20.0)  # nats for a word, to see what it costs
MARGINS = (1.0, -2.0)  # nats beside that: most draws hold the word; fewer do, but it may come at any place


def boosts(reader: Autoregressive, lock: Keywords, own: Tensor, longest: int) -> list[WordBoost]:
    """Each word by about as many nats as it costs where ``reader`` writes, once for each of ``MARGINS``.

    A word costs what the cheapest text that holds it has above ``own int64 [tokens]``, a text that is likely by itself.
    Looked at are ``own`` and texts of the likeliest tokens one after the other, with the word pulled in.
    """
    from lm_adapters import Keywords, WordBoost

    costs = [_cost(reader, Keywords(lock.space, [word]), own[:longest], longest) for word in lock.words]
    nats = [[max(0.0, cost + margin) if cost > 0 else 0.0 for cost in costs] for margin in MARGINS]
    return [WordBoost(lock, each) for each in nats]


def _cost(reader: Autoregressive, word: Keywords, own: Tensor, longest: int) -> float:
    import torch

    from lm_adapters import SequenceEnergy

    room = own.new_full((longest - len(own),), word.space.pad_id)
    x = torch.cat([torch.cat([own, room]).unsqueeze(0), *_pulled_in(reader, word, longest)])
    above = SequenceEnergy(reader)(x)
    above = above - above[0]
    return float(above.where(word.found(x), TRIED[-1]).min())


def _pulled_in(reader: Autoregressive, word: Keywords, longest: int) -> Iterator[Tensor]:
    """``int64 [1, longest]``: the likeliest tokens one after the other, for each number of nats."""
    import torch

    from lm_adapters import SequenceDistribution, Truncation, WordBoost

    empty = torch.full((1, longest), word.space.pad_id, device=reader.allowed.device)
    for nats in TRIED:
        boost = WordBoost(word, [nats])
        likeliest = SequenceDistribution(reader, max_length=longest, truncation=Truncation(top_k=1), boost=boost)
        yield likeliest.redraw(empty, empty.new_zeros(1), score_end=False, scored=False).x
