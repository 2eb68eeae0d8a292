"""A user's function that writes into its argument changes no chain: what is scored is what is kept."""

import pytest
import torch

from samplers import (
    Constraint,
    Gibbs,
    MetropolisHastings,
    Mixture,
    Proposed,
    PseudoGibbs,
    ShortlistGibbs,
    Tempered,
    importance_sample,
    named,
    rejection_sample,
    sample,
)

VALUES = 4


def energy_of(x):
    return 0.3 * x.double().sum(dim=1)


def spoiling(function):
    """``function``, which leaves its first argument full of ones."""

    def spoiled(x, *others):
        value = function(x, *others)
        x.fill_(1)
        return value

    return spoiled


class Site:
    def __init__(self, *, spoils=False):
        self.spoils = spoils

    def __call__(self, x, rng):
        site = torch.randint(x.shape[1], (len(x), 1), generator=rng)
        new = x.scatter(1, site, torch.randint(VALUES, (len(x), 1), generator=rng))
        if self.spoils:
            x.fill_(1)
        return Proposed(new, *torch.full((2, len(x)), -1.0, dtype=torch.float64))

    def log_prob(self, x_to, x_from):
        raise NotImplementedError


def everything(x):
    return torch.ones_like(x, dtype=torch.bool)


def values_of(x, site):
    return torch.arange(VALUES).expand(len(x), -1)


KERNELS = {
    "metropolis": lambda spoil: MetropolisHastings(Site(spoils=spoil)),
    "pseudo": lambda spoil: PseudoGibbs(Site(spoils=spoil)),
    "gibbs": lambda spoil: Gibbs(VALUES, free=spoiling(everything) if spoil else everything),
    "shortlist": lambda spoil: ShortlistGibbs(
        spoiling(values_of) if spoil else values_of, free=spoiling(everything) if spoil else everything
    ),
    "mixture": lambda spoil: Mixture([(MetropolisHastings(Site(spoils=spoil)), 0.5), (Gibbs(VALUES), 0.5)]),
    "tempered": lambda spoil: Tempered(MetropolisHastings(Site(spoils=spoil)), [1.0, 0.5]),
}


def drawn(kernel, energy):
    x0 = torch.zeros(6, 3, dtype=torch.int64)
    trace = sample(kernel, energy, x0, steps=30, seed=1, progress=False)
    assert not x0.any()
    assert torch.equal(trace.energy.flatten(), energy_of(trace.draws.flatten(0, 1)))
    return trace.draws


@pytest.mark.parametrize("kernel", KERNELS)
def test_of_an_energy(kernel):
    spoiled = named("spoils", spoiling(energy_of))
    allowed = Constraint("allowed", spoiling(lambda x: x[:, 0] < VALUES))
    clean = drawn(KERNELS[kernel](False), energy_of)
    assert torch.equal(drawn(KERNELS[kernel](False), spoiled), clean)
    assert torch.equal(drawn(KERNELS[kernel](False), spoiled + allowed), clean)


@pytest.mark.parametrize("kernel", KERNELS)
def test_of_a_proposal_a_shortlist_and_free(kernel):
    assert torch.equal(drawn(KERNELS[kernel](True), energy_of), drawn(KERNELS[kernel](False), energy_of))


def test_of_an_energy_of_independent_draws():
    q = torch.distributions.Independent(torch.distributions.Categorical(torch.ones(3, VALUES)), 1)
    kept = rejection_sample(spoiling(energy_of), q, log_bound=5.0, num_samples=20)
    assert torch.equal(kept.energy, energy_of(kept.x))
    weighed = importance_sample(spoiling(energy_of), q, num_samples=50)
    assert torch.equal(weighed.energy, energy_of(weighed.x))
