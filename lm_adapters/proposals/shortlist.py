"""Exact Gibbs over the tokens that a masked language model finds likeliest at a site."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from lm_adapters.locks.base import Lock, free_sites
from lm_adapters.models.masked_lm import MaskedLM
from samplers import InvalidInput, ShortlistGibbs

__all__ = ["LikeliestTokens", "RescoredReplace"]


class RescoredReplace(ShortlistGibbs):
    """Redraw one token from the target restricted to the ``k`` tokens that ``model`` finds likeliest in its place.

    The move of Miao et al. 2019 (arXiv:1811.10996, section 3.2) and bert4keras, which force the current token into the
    list and so lose detailed balance. Here the list is used as it is, and a token that is not on it stays; see
    ``ShortlistGibbs`` for target and proof. Only sites that ``lock`` leaves free are drawn, and no token is listed that
    would move a locked piece. Add ``lock`` to the target too.

    Cost: one forward pass with one mask a chain, and at most ``k`` rows of the target a chain, in energy calls of at
    most ``max_rows`` rows. Raises ``InvalidInput`` for ``k`` or ``max_rows`` below 1.
    """

    def __init__(self, model: MaskedLM, k: int = 64, *, lock: Lock | None = None, max_rows: int = 4096) -> None:
        super().__init__(
            LikeliestTokens(model, k),
            free=partial(free_sites, model.space, lock),
            max_rows=max_rows,
            move_name="rescored",
        )


class LikeliestTokens:
    """The ``k`` likeliest proposable tokens (all, if there are fewer) at a masked site, given the rest of the text.

    Raises ``InvalidInput`` for ``k`` below 1.
    """

    def __init__(self, model: MaskedLM, k: int) -> None:
        if k < 1:
            raise InvalidInput(f"k is {k}; give at least 1")
        self.model, self.k = model, min(k, int(model.allowed.sum()))

    def __call__(self, x: Tensor, site: Tensor) -> Tensor:
        """``int64 [chains, k]``, likeliest first, for the column ``site int64 [chains]``. One forward pass."""
        hidden = torch.zeros_like(x, dtype=torch.bool).scatter(1, site.unsqueeze(1), True)
        logits = self.model.logits(x, hidden).masked_fill(~self.model.allowed, -math.inf)
        return logits.topk(self.k, dim=1).indices
