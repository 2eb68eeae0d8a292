"""Texts against a large fixed set: a cross-encoder's scores as an energy, and a CUR approximation as its surrogate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["CrossScores", "ScoresOfPairs"]

ScoresOfPairs = Callable[[Sequence[str], Sequence[str]], Tensor]


class CrossScores(EnergyTerm):
    """``-max_item score(text, item)``, the score that the nearest of ``items`` gives a text, in the score's own unit.

    ``score(texts, items)`` returns ``[texts, items]``: a cross-encoder, which reads both together. A negative weight
    rewards texts that are far from all items (novelty).

    Cost: a pair for every text and item. ``anchored`` gives a surrogate for a few of the items, which
    ``DelayedAcceptance`` makes exact. Raises ``InvalidInput`` for no items.
    """

    name = "nearest"
    expensive = True

    def __init__(self, space: TextSpace, score: ScoresOfPairs, items: Sequence[str]) -> None:
        if not items:
            raise InvalidInput("there are no items to score texts against; give at least one")
        self.space, self.score, self.items = space, score, tuple(items)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return -self.scores(self.space.decode(x)).max(dim=1).values.to(x.device)

    def scores(self, texts: Sequence[str]) -> Tensor:
        """``float64 [texts, items]``."""
        return self.score(texts, self.items).double()

    def anchored(self, queries: Sequence[str], anchors: int, *, rcond: float = 1e-3, seed: int = 0) -> CurScores:
        """The surrogate whose scores are those of ``anchors`` items, and a linear map to all of them.

        ``queries`` are texts such as the chain meets, scored against all items once, here: as many as anchors or more.
        Anchors are drawn by ``seed``. Singular values below ``rcond`` of the largest are dropped, which keeps noise
        from being blown up. Raises ``InvalidInput`` for no queries, and for fewer than one anchor or more than items.
        """
        return CurScores.fit(self, queries, anchors, rcond=rcond, seed=seed)


class CurScores(CrossScores):
    """``f (F_anchors)^+ F``: ``f [texts, anchors]`` the scores of the anchors alone, ``F [queries, items]`` fixed.

    The CUR decomposition of the matrix of all scores (Yadav et al. 2022, arXiv:2210.12579: ANNCUR), exact where that
    has a rank of at most ``anchors`` and the queries span it. No bound on its error is known otherwise: use it as the
    surrogate of ``DelayedAcceptance``, not as the target.

    Cost: a pair for every text and anchor.
    """

    name = "nearest, approximately"

    def __init__(self, whole: CrossScores, anchors: Sequence[int], extension: Tensor) -> None:
        super().__init__(whole.space, whole.score, whole.items)
        self.anchors, self.extension = tuple(anchors), extension

    @classmethod
    def fit(cls, whole: CrossScores, queries: Sequence[str], anchors: int, *, rcond: float, seed: int) -> Self:
        if not queries:
            raise InvalidInput("there are no queries to fit the approximation to; give texts such as the chain meets")
        if not 1 <= anchors <= len(whole.items):
            raise InvalidInput(f"anchors is {anchors}; give 1 to {len(whole.items)}, the number of items")
        rng = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(whole.items), generator=rng)[:anchors].sort().values
        with torch.inference_mode():
            scores = whole.scores(queries).cpu()
        return cls(whole, chosen.tolist(), torch.linalg.pinv(scores[:, chosen], rtol=rcond) @ scores)

    def scores(self, texts: Sequence[str]) -> Tensor:
        anchored = self.score(texts, [self.items[item] for item in self.anchors]).double()
        return anchored @ self.extension.to(anchored.device)
