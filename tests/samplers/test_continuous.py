"""Continuous states: a mixture of two Gaussians in the plane, with ``torch.distributions`` throughout."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from samplers import MetropolisHastings, anneal, geometric, importance_sample, rejection_sample, sample
from samplers.randomness import generator, scoped_global_seed
from tests.samplers.doubles import Walk
from tests.samplers.laws import GATE, worst_t

WEIGHTS = torch.tensor([0.7, 0.3], dtype=torch.float64)
CENTRES = torch.tensor([[-1.0, 0.5], [2.0, 1.0]], dtype=torch.float64)
SCALES = torch.tensor([[0.5, 0.8], [0.6, 0.4]], dtype=torch.float64)
WIDE = Independent(Normal(torch.zeros(2, dtype=torch.float64), 2.5), 1)
LOG_Z = 0.75


def mixture(weights=WEIGHTS):
    return MixtureSameFamily(Categorical(weights), Independent(Normal(CENTRES, SCALES), 1))


def energy(x):
    return -mixture().log_prob(x) - LOG_Z


def statistics(x):
    """First and second moments, ``[..., 5]``."""
    a, b = x[..., 0], x[..., 1]
    return torch.stack([a, b, a * a, b * b, a * b], dim=-1)


def truth():
    second = torch.cat([SCALES.square() + CENTRES.square(), CENTRES.prod(dim=1, keepdim=True)], dim=1)
    return WEIGHTS @ torch.cat([CENTRES, second], dim=1)


def exact_draws(count, weights=WEIGHTS):
    with scoped_global_seed(generator(11)):
        return mixture(weights).sample((count,))


def log_bound():
    """Of ``target / WIDE``: the supremum of each component's ratio, by completing the square in each dimension."""
    wide = 2.5**2
    ratio = torch.log(2.5 / SCALES) + CENTRES.square() / (2 * (wide - SCALES.square()))
    return float(ratio.sum(dim=1).max()) + LOG_Z


def test_the_moments_that_the_gates_compare_with():
    assert worst_t(statistics(exact_draws(4096)), truth()) < GATE
    assert worst_t(statistics(exact_draws(4096, WEIGHTS.flip(0))), truth()) > GATE


def test_rejection():
    result = rejection_sample(energy, WIDE, log_bound=log_bound(), num_samples=8192)
    assert result.x.dtype == torch.float64
    assert worst_t(statistics(result.x), truth()) < GATE
    error = GATE * math.sqrt((1 - result.acceptance) / result.accepted)
    assert result.log_z == pytest.approx(LOG_Z, abs=error)
    assert error < 0.2


def test_importance():
    runs = [importance_sample(energy, WIDE, num_samples=2000, seed=seed) for seed in range(32)]
    moments = torch.stack([run.expectation(statistics) for run in runs])
    assert worst_t(moments, truth()) < GATE
    assert float((moments.mean(dim=0) - truth()).abs().max()) < 0.05
    assert sum(run.log_z for run in runs) / 32 == pytest.approx(LOG_Z, abs=0.02)
    assert all(run.pareto_k < 0.7 for run in runs)


def metropolis_moments(target, start):
    trace = sample(MetropolisHastings(Walk(0.9)), target, start, steps=150, seed=2)
    assert 0.2 < trace.acceptance < 0.7
    return statistics(trace.draws).mean(dim=1)


def test_metropolis_keeps_the_law_of_256_exact_starts():
    assert worst_t(metropolis_moments(energy, exact_draws(256)), truth()) < GATE


def test_metropolis_leaves_the_law_of_another_target():
    assert worst_t(metropolis_moments(lambda x: 1.4 * energy(x), exact_draws(256)), truth()) > GATE


def test_annealing_finds_the_higher_mode():
    grid = torch.cartesian_prod(*[torch.linspace(-3, 3, 601, dtype=torch.float64)] * 2)
    lowest, mode = energy(grid).min(dim=0)
    best = anneal(
        MetropolisHastings(Walk(0.3)), energy, exact_draws(64), schedule=geometric(1.0, 0.01), steps=300, seed=3
    )
    assert torch.equal(best.energy, energy(best.x))
    assert bool((best.energy > lowest - 1e-4).all())
    found = best.energy < lowest + 0.02
    assert bool(found.any())
    assert bool(((best.x[found] - grid[mode]).norm(dim=1) < 0.2).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_metropolis_on_cuda():
    target = MixtureSameFamily(Categorical(WEIGHTS.cuda()), Independent(Normal(CENTRES.cuda(), SCALES.cuda()), 1))
    moments = metropolis_moments(lambda x: -target.log_prob(x), exact_draws(256).cuda())
    assert worst_t(moments.cpu(), truth()) < GATE
