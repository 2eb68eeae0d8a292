"""Exact Gibbs on the tokens that a masked language model finds likeliest at a site."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_adapters.locks.base import Lock, free_sites
from samplers import InvalidInput, ShortlistGibbs

if TYPE_CHECKING:
    from lm_adapters.models.masked_lm import MaskedLM

__all__ = ["LikeliestTokens", "rescored_replace"]


def rescored_replace(model: MaskedLM, k: int = 64, *, lock: Lock | None = None, max_rows: int = 4096) -> ShortlistGibbs:
    """Redraw a token among the ``k`` that ``model`` finds likeliest in its place, by the full target.

    Miao et al. 2019, arXiv:1811.10996, section 3.2, and bert4keras, which force the current token into the list and
    lose detailed balance; here the list is as it is, and a token that is not on it stays (see ``ShortlistGibbs``).
    Only sites that ``lock`` leaves free are drawn, and no token is listed that would move a locked piece. Add ``lock``
    to the target too.

    Cost: one forward pass with one mask a chain, and at most ``k`` rows of the target a chain.
    """
    return ShortlistGibbs(
        LikeliestTokens(model, k), free=partial(free_sites, model.space, lock), max_rows=max_rows, move_name="rescored"
    )


class LikeliestTokens:
    """The ``k`` likeliest proposable tokens (all, if they are fewer) of a masked site, given the rest of the text."""

    def __init__(self, model: MaskedLM, k: int) -> None:
        if k < 1:
            raise InvalidInput(f"k is {k}; give at least 1")
        self.model, self.k = model, min(k, int(model.allowed.sum()))

    def __call__(self, x: Tensor, site: Tensor) -> Tensor:
        """``int64 [chains, k]`` for the column ``site [chains]``, the likeliest first. One forward pass."""
        hidden = torch.zeros_like(x, dtype=torch.bool).scatter(1, site.unsqueeze(1), True)
        logits = self.model.logits(x, hidden).masked_fill(~self.model.allowed, -math.inf)
        return logits.topk(self.k, dim=1).indices
