"""The density of a VAE that is small enough to integrate: estimates, their ESS, and chains on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lm_adapters import TextSpace, VAEDensity
from samplers import Flat, Gibbs, InvalidInput, PseudoMarginal, generator, pseudo_marginal_report, sample
from samplers.testing import Enumerated, row_result
from tests.lm_adapters import tiny

WORDS = ("red", "green", "blue")
SPACE = TextSpace(tiny.word_level(WORDS))
IDS = SPACE.encode(list(WORDS)).flatten()
STATES = torch.cartesian_prod(IDS, IDS)


class TinyVAE:
    """Two words, each drawn with odds that are linear in one hidden number; ``shift`` and ``width`` of the encoder."""

    size = 1
    slopes = torch.tensor([[-1.2, 0.3, 1.0], [0.8, -0.5, 0.1]], dtype=torch.float64)

    def __init__(self, shift: float = 0.0, width: float = 1.0) -> None:
        self.shift, self.width = shift, width

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        mean = torch.tensor([[self.shift + 0.2 * WORDS.index(text.split()[0])] for text in texts], dtype=torch.float64)
        return mean, torch.full_like(mean, math.log(self.width))

    def decode(self, texts: list[str], z: Tensor) -> Tensor:
        words = torch.tensor([[WORDS.index(word) for word in text.split()] for text in texts])
        log_p = (z.unsqueeze(2) * self.slopes).log_softmax(dim=2)
        return log_p.gather(2, words.unsqueeze(2)).sum(dim=(1, 2))


def exact_log_q() -> Tensor:
    """By quadrature over the prior."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(80))
    texts = SPACE.decode(STATES)
    log_p = torch.stack([TinyVAE().decode(texts, node.expand(len(texts), 1)) for node in nodes], dim=1)
    return (log_p + (weights / weights.sum()).log()).logsumexp(dim=1)


def test_the_weight_is_unbiased_whatever_the_encoder():
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(120))
    for vae in (TinyVAE(), TinyVAE(0.4, 0.9)):
        noise = nodes.reshape(1, -1, 1).expand(len(STATES), -1, 1)
        estimates = VAEDensity(vae, SPACE).estimate(STATES, noise)
        mean = (-estimates + (weights / weights.sum()).log()).logsumexp(dim=1)
        assert torch.allclose(mean, exact_log_q(), rtol=0, atol=1e-9)
    assert float(exact_log_q().exp().sum()) == pytest.approx(1.0)


def test_scores_approach_the_density_from_above_and_their_ess_tells_a_bad_encoder():
    texts, exact = SPACE.decode(STATES), -exact_log_q()
    good, bad = (VAEDensity(vae, SPACE) for vae in (TinyVAE(), TinyVAE(2.0, 0.3)))
    many = good.scores(texts, 4000)
    assert torch.allclose(many.energy, exact, rtol=0, atol=0.1)
    assert float((good.scores(texts * 50, 1).energy - exact.repeat(50)).mean()) > 0.02
    assert float(many.ess.mean()) > 1000
    assert float(bad.scores(texts, 4000).ess.mean()) < 400
    assert torch.allclose(good.scores(texts, 1).ess, torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize("samples", [1, 4])
def test_chains_on_estimates_follow_the_density(samples: int):
    target = Enumerated(STATES, lambda x: -exact_log_q())
    density, chains = VAEDensity(TinyVAE(0.5, 0.8), SPACE), 2048
    kernel = PseudoMarginal(density.estimate, Gibbs(IDS), noise=1, samples=samples)
    x0 = target.sample(chains, generator(0))
    trace = sample(kernel, Flat(), x0, steps=30, warmup=29, seed=1, shard_size=chains, progress=False)
    end = target.index(trace.draws[:, -1])
    assert row_result("T3", "", end, target.probabilities(), pooled=True).passed
    assert 1 <= pseudo_marginal_report(trace.final[0])["weight_ess"] <= samples


def test_what_is_no_vae_is_refused():
    hollow = TinyVAE()
    hollow.size = 0
    with pytest.raises(InvalidInput, match="the VAE has size 0"):
        VAEDensity(hollow, SPACE)
    wide = TinyVAE()
    wide.size = 2
    with pytest.raises(InvalidInput, match=r"encode of the VAE returned \[1, 1\], not \[1, 2\]"):
        VAEDensity(wide, SPACE).scores(["red blue"], 3)
    with pytest.raises(InvalidInput, match="samples is 0"):
        VAEDensity(TinyVAE(), SPACE).scores(["red blue"], 0)
