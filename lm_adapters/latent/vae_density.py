"""The density of a sentence VAE by importance weights: an energy, a diagnostic, an estimate for exact chains."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import Configurable, InvalidInput, generator

__all__ = ["SentenceVAE", "VAEDensity", "VAEScores"]

LOG_ROOT = 0.5 * math.log(2 * math.pi)


class SentenceVAE(Protocol):
    """What the adapter asks of a VAE whose prior is standard normal and whose posterior is a diagonal normal.

    ``encode(texts) -> (mean, log_std)``, each ``[texts, size]``; ``decode(texts, z [texts, size]) -> [texts]``:
    ``log p(text | z)`` in nats. Both depend on a text and its ``z`` alone, not on what is in the batch with it, nor on
    chance. ``size`` is that of ``z``.
    """

    size: int

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]: ...

    def decode(self, texts: list[str], z: Tensor) -> Tensor: ...


class VAEScores(NamedTuple):
    """``energy float64 [texts]``, estimates of ``-log q(text)`` in nats, and the ``ess [texts]`` of their weights."""

    energy: Tensor
    ess: Tensor


class VAEDensity(Configurable):
    """``q(x) = E[p(x | z) p(z) / r(z | x)]``, ``z`` drawn from the encoder's ``r(. | x)``, by importance weights.

    The mean of ``M`` weights is an unbiased estimate of ``q(x)``, so that chains which keep it are exact::

        density = VAEDensity(vae, space)
        kernel = PseudoMarginal(density.estimate, MetropolisHastings(proposal), noise=vae.size, samples=16)

    Its log is not unbiased: ``-log`` of the mean is on average above ``-log q(x)``, by less the larger ``M``, and for
    ``M = 1`` is the negative ELBO (Burda et al. 2016, ICLR, arXiv:1509.00519, theorem 1). ``scores`` are for looking
    at, for outliers for example; as an energy they would be of another law, or of none if drawn anew at each call.

    ``space`` decodes states. Raises ``InvalidInput`` for a VAE whose ``size`` is below 1 or that returns wrong shapes.
    """

    def __init__(self, vae: SentenceVAE, space: TextSpace) -> None:
        if vae.size < 1:
            raise InvalidInput(f"the VAE has size {vae.size}; its hidden variable needs at least one number")
        self.vae, self.space = vae, space

    def estimate(self, x: Tensor, noise: Tensor) -> Tensor:
        """``float64 [chains, samples]``: ``-log`` of a weight for each of ``noise [chains, samples, size]``."""
        return -self._log_weights(self.space.decode(x), noise).to(x.device)

    def scores(self, texts: list[str], samples: int, *, seed: int = 0) -> VAEScores:
        """Estimates from ``samples`` weights each. An ESS near 1 says that one weight decides: draw more."""
        if samples < 1:
            raise InvalidInput(f"samples is {samples}; give at least 1")
        noise = torch.randn(
            (len(texts), samples, self.vae.size), dtype=torch.float64, generator=generator(seed, stream="vae")
        )
        weights = self._log_weights(texts, noise)
        total = weights.logsumexp(dim=1)
        return VAEScores(math.log(samples) - total, (2 * total - (2 * weights).logsumexp(dim=1)).exp())

    def _log_weights(self, texts: list[str], noise: Tensor) -> Tensor:
        """``log p(x | z) + log p(z) - log r(z | x)``; the squares of the noise are those of ``r``."""
        rows, samples, _ = noise.shape
        mean, log_std = (self._checked("encode", part, (rows, self.vae.size)) for part in self.vae.encode(texts))
        noise = noise.to(mean.device)
        z = mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise
        repeated = [text for text in texts for _ in range(samples)]
        log_p = self._checked("decode", self.vae.decode(repeated, z.flatten(0, 1)), (rows * samples,))
        log_prior = -(0.5 * z.square() + LOG_ROOT).sum(dim=2)
        log_posterior = -(0.5 * noise.square() + LOG_ROOT).sum(dim=2) - log_std.sum(dim=1, keepdim=True)
        return log_p.reshape(rows, samples) + log_prior - log_posterior

    def _checked(self, name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        if values.shape != shape:
            raise InvalidInput(f"{name} of the VAE returned {list(values.shape)}, not {list(shape)}")
        return values.detach().double()
