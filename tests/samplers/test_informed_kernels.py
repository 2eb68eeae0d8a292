"""Multiple-try, locally informed and gradient moves beyond the battery: what they cost and refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from samplers import (
    CallCounter,
    EnergyError,
    GradientProposal,
    InvalidInput,
    LocallyInformed,
    MetropolisHastings,
    Mixture,
    MultipleTry,
    ProposalError,
    SingleSiteChanges,
    generator,
    sample,
)
from samplers.testing import (
    SiteProposal,
    check_proposal,
    dirichlet_table,
    enumerate_states,
    random_target,
    transition_matrix,
)

TARGET = random_target(3, 3, seed=2588105456)
SITE = SiteProposal(dirichlet_table(3, 3, 3, seed=5))


@pytest.mark.parametrize("balance", ["sqrt", "barker"])
def test_one_try_is_metropolis_hastings_or_barkers(balance: str):
    matrix = transition_matrix(MultipleTry(SITE, tries=1, balance=balance), TARGET)
    assert torch.allclose(matrix, transition_matrix(MetropolisHastings(SITE), TARGET), rtol=0, atol=1e-12)


def test_tries_cost_two_calls_and_their_rows():
    kernel, energy, rng = MultipleTry(SITE, tries=4), CallCounter(TARGET.energy), generator(0)
    state = kernel.init(TARGET.sample(100, rng), energy)
    energy.calls = energy.rows = 0
    kernel.step(state, energy, rng)
    assert energy.calls == 2
    assert 300 < energy.rows <= 700


def test_a_step_scores_one_neighbourhood_unless_another_kernel_moved():
    kernel, rng = LocallyInformed(SingleSiteChanges(3)), generator(0)
    energy = CallCounter(TARGET.energy)
    state = kernel.init(TARGET.sample(50, rng), energy)
    energy.rows = 0
    state, _ = kernel.step(state, energy, rng)
    assert energy.rows == 50 * 6
    elsewhere = TARGET.sample(50, rng)
    energy.rows = 0
    kernel.step(state._replace(x=elsewhere, energy=TARGET.energy(elsewhere)), energy, rng)
    assert 50 * 6 < energy.rows <= 2 * 50 * 6


def test_neighbours_are_all_single_site_changes():
    x = torch.tensor([[0, 2]])
    around = SingleSiteChanges(3)(x)
    assert {tuple(row) for row in around[0].tolist()} == {(0, 2), (1, 2), (2, 2), (0, 0), (0, 1)}
    frozen = SingleSiteChanges(3, free=lambda x: torch.tensor([[False, True]]))(x)
    assert {tuple(row) for row in frozen[0].tolist()} == {(0, 2), (0, 0), (0, 1)}


def test_a_state_without_neighbours_is_kept():
    stays = LocallyInformed(SingleSiteChanges(3, free=lambda x: torch.zeros_like(x, dtype=torch.bool)))
    gradient = MetropolisHastings(GradientProposal(TARGET.relaxed, 3, free=stays.neighbours.free))
    x0 = TARGET.sample(4, generator(0))
    for kernel in (stays, gradient):
        assert torch.equal(sample(kernel, TARGET.energy, x0, steps=3, progress=False).draws[:, -1], x0)


def test_a_one_sided_neighbourhood_is_never_entered_by_its_one_way_doors():
    def upwards(x: Tensor) -> Tensor:
        """0 to 1 to 2, and back from 1 to 0 only."""
        return torch.stack([(x + 1).clamp(max=2), torch.where(x == 1, 0, x)], dim=1)

    flat = LocallyInformed(upwards)
    trace = sample(flat, lambda x: torch.zeros(len(x)), torch.zeros(20, 1, dtype=torch.int64), steps=30, progress=False)
    assert set(trace.draws.unique().tolist()) == {0, 1}


def test_the_gradient_proposal_is_honest_and_falls_with_the_energy():
    states = enumerate_states(3, 3)
    check_proposal(GradientProposal(TARGET.relaxed, 3), states)
    weights = torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64)
    uphill = GradientProposal(lambda inputs: (inputs @ weights).sum(dim=1), 3)
    x = torch.tensor([[2, 0, 0]])
    odds = uphill.log_prob(torch.tensor([[0, 0, 0]]), x) - uphill.log_prob(torch.tensor([[1, 0, 0]]), x)
    assert float(odds) == pytest.approx(1.5)


def test_errors_name_the_chain():
    def bad(x: Tensor) -> Tensor:
        return torch.where((x == 2).any(dim=1), math.nan, 0.0).double()

    x0 = torch.tensor([[0, 0, 0], [2, 1, 0]])
    for kernel in (MultipleTry(SITE), LocallyInformed(SingleSiteChanges(3))):
        with pytest.raises(EnergyError, match="NaN") as caught:
            sample(kernel, bad, x0[:1].repeat(5, 1), steps=50, progress=False)
        assert set(caught.value.rows) <= set(range(5))
    infinite = GradientProposal(lambda inputs: (inputs[:, 0, 0] - 1).sqrt(), 3)
    with pytest.raises(ProposalError, match="not finite at chain 0"):
        infinite.memory(x0)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: MultipleTry(SITE, tries=0), "tries is 0; give at least 1"),
        (lambda: MultipleTry(SITE, balance="max"), "balance is 'max'; choose 'sqrt' or 'barker'"),
        (lambda: LocallyInformed(SingleSiteChanges(3), max_rows=0), "max_rows is 0"),
        (lambda: SingleSiteChanges(1), "values is 1; give at least 2"),
        (lambda: GradientProposal(TARGET.relaxed, 1), "values is 1; give at least 2"),
    ],
)
def test_refused(make, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        make()


def test_neighbours_of_another_shape_are_refused():
    with pytest.raises(ProposalError, match=r"neighbours are torch.int64 \[2, 3\]"):
        LocallyInformed(lambda x: x).init(torch.zeros(2, 3, dtype=torch.int64), TARGET.energy)


def test_they_resume_and_mix():
    kernel = Mixture([(MultipleTry(SITE), 0.5), (LocallyInformed(SingleSiteChanges(3)), 0.5)])
    assert kernel.move_names == ("site", "locally informed")
