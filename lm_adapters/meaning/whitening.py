"""BERT-whitening: sentence vectors made isotropic by a linear map that is fitted once and then frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lm_adapters.models.sentence_encoder import SentenceEncoder
from samplers import InvalidInput
from samplers.storage import digest

__all__ = ["Whitened"]

RANK_TOLERANCE = 1e-10  # of the largest variance, below which a direction has none
TOGETHER = 512  # texts encoded at a time


class Whitened(SentenceEncoder):
    """``normalize((v - beta mu) U Lambda^(-gamma / 2))``, the first ``k`` columns, of the vectors ``v`` of ``encoder``.

    ``Sigma = E[(v - beta mu)^T (v - beta mu)] = U Lambda U^T``, ``Lambda`` falling, over the texts of ``fit`` (Su et
    al. 2021, arXiv:2103.15316; ``beta`` and ``gamma`` are Su's later addition: 1 and 1 are the method of the paper, 0
    and 0 keep the directions of largest second moment). The pooled states of a language model all point nearly the same
    way, so that all cosines are near 1; whitened, they tell texts apart. For a model that was trained on pairs of
    sentences it takes away what was learnt.

    The map is part of what an energy is: it is fitted before a run and never moves (an adaptive one would make the
    target move with the chain). ``mean [dim]`` and ``map [dim, k]`` are float64; ``fitted`` says what they follow from,
    and stands for them in a run's fingerprint, because their last bits depend on the machine.
    """

    def __init__(
        self, encoder: SentenceEncoder, mean: Tensor, map: Tensor, fitted: Mapping[str, Any] | None = None
    ) -> None:
        self.encoder, self.mean, self.map = encoder, mean.double(), map.double()
        self.fitted = fitted
        self.model, self.space = encoder.model, encoder.space

    @classmethod
    def fit(
        cls, encoder: SentenceEncoder, texts: Sequence[str], *, dims: int = 256, beta: float = 1.0, gamma: float = 1.0
    ) -> Self:
        """Fit the map to the vectors of ``texts``; ``dims`` is ``k``, at most as many as the texts have directions.

        Raises ``InvalidInput`` for ``dims`` below 1, for fewer than two different texts, and for texts that the encoder
        cannot take.
        """
        if dims < 1:
            raise InvalidInput(f"dims is {dims}; give at least 1")
        different = list(dict.fromkeys(texts))
        if len(different) < 2:
            raise InvalidInput(f"there are {len(different)} different texts to fit a whitening to; give at least two")
        with torch.inference_mode():
            parts = [encoder.embed(different[at : at + TOGETHER]) for at in range(0, len(different), TOGETHER)]
        vectors = torch.cat(parts).clone()
        mean = beta * vectors.mean(dim=0)
        centred = vectors - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        variances, directions = variances.flip(0), directions.flip(1)
        rank = max(1, int((variances > RANK_TOLERANCE * variances[0]).sum()))
        kept = min(dims, rank)
        fitted = {"texts": digest({}, "\n".join(different)), "dims": dims, "beta": beta, "gamma": gamma}
        return cls(encoder, mean, directions[:, :kept] * variances[:kept].pow(-gamma / 2), fitted)

    def config(self) -> dict[str, Any]:
        """What the vectors depend on: the encoder, and the frozen map."""
        frozen = {"mean": self.mean, "map": self.map} if self.fitted is None else {"fitted": dict(self.fitted)}
        return {"encoder": self.encoder, **frozen}

    def embed(self, texts: Sequence[str]) -> Tensor:
        vectors = self.encoder.embed(texts)
        whitened = normalize((vectors - self.mean) @ self.map, dim=1)
        return whitened.masked_fill((vectors == 0).all(dim=1, keepdim=True), 0.0)
