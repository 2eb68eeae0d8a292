"""Other names for the values give the same draws under those names, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samplers import Gibbs, Kernel, MetropolisHastings, PseudoGibbs, ShortlistGibbs, generator, sample
from samplers.testing import Enumerated, Relabelled, SiteProposal, TabularShortlist, dirichlet_table, random_target

TARGET = random_target(3, 3, seed=2588105456)
NAMES = torch.tensor([2, 0, 1])
BACK = NAMES.argsort()  # value v of the target is called BACK[v]
RENAMED = Enumerated(BACK[TARGET.states], lambda x: TARGET.energy(NAMES[x]))
PROPOSAL = SiteProposal(dirichlet_table(3, 3, 3, seed=5))
SHORTLIST = TabularShortlist(3, 3, 2, seed=2331372128)


def ends(x: Tensor) -> Tensor:
    return torch.tensor([True, False, True]).expand_as(x)


PAIRS: dict[str, tuple[Kernel, Kernel]] = {
    "Metropolis-Hastings": (MetropolisHastings(PROPOSAL), MetropolisHastings(Relabelled(PROPOSAL, NAMES))),
    "PseudoGibbs": (PseudoGibbs(PROPOSAL), PseudoGibbs(Relabelled(PROPOSAL, NAMES))),
    "Gibbs": (Gibbs(3), Gibbs(BACK)),
    "Gibbs, two values": (Gibbs(torch.tensor([2, 0])), Gibbs(BACK[torch.tensor([2, 0])])),
    "Gibbs in turn": (Gibbs(3, scan="systematic", free=ends), Gibbs(BACK, scan="systematic", free=ends)),
    "shortlist": (ShortlistGibbs(SHORTLIST), ShortlistGibbs(lambda x, site: BACK[SHORTLIST(NAMES[x], site)])),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_renamed_values_are_drawn_alike(kind: str):
    kernel, renamed = PAIRS[kind]
    x0 = TARGET.sample(200, generator(1))
    plain = sample(kernel, TARGET.energy, x0, steps=30, seed=3)
    other = sample(renamed, RENAMED.energy, BACK[x0], steps=30, seed=3)
    assert torch.equal(other.draws, BACK[plain.draws])
    assert torch.equal(other.energy, plain.energy)
    assert plain.changed > 0.1
