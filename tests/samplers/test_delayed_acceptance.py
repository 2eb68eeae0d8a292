"""Delayed acceptance beyond the battery: what it spares, what it keeps, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from samplers import (
    CallCounter,
    Cycle,
    DelayedAcceptance,
    EnergyError,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    PseudoGibbs,
    Tempered,
    anneal,
    delayed_report,
    generator,
    geometric,
    sample,
)
from samplers.testing import SiteProposal, dirichlet_table, random_target
from samplers.testing.proposals import RememberingProposal

TARGET = random_target(3, 3, seed=2588105456)
OTHER = random_target(3, 3, seed=5, scale=0.5)
INNER = MetropolisHastings(SiteProposal(dirichlet_table(3, 3, 3, seed=5)))


def test_the_energy_is_asked_only_for_what_the_surrogate_lets_pass():
    kernel, rng = DelayedAcceptance(OTHER.energy, INNER), generator(0)
    energy = CallCounter(TARGET.energy)
    state = kernel.init(TARGET.sample(500, rng), energy)
    energy.rows = rejected = moved = 0
    for _ in range(20):
        before = delayed_report(state)
        state, info = kernel.step(state, energy, rng)
        after = delayed_report(state)
        rejected, moved = rejected + after["screened"] - before["screened"], moved + int(info.changed.sum())
    assert energy.rows == after["scored"] > moved > 1000
    assert after["screened"] == rejected > 1000
    assert after["screened"] + after["scored"] <= 20 * 500  # the others were proposed the state that they were in


def test_a_perfect_surrogate_passes_on_all_that_it_accepts():
    kernel, rng = DelayedAcceptance(TARGET.energy, INNER), generator(0)
    x0 = TARGET.sample(200, rng)
    trace = sample(kernel, TARGET.energy, x0, steps=30, seed=1)
    assert delayed_report(trace.final[0])["scored"] == pytest.approx(trace.changed * 30 * 200)


def test_the_memory_of_a_rejected_move_is_that_of_before():
    proposal = RememberingProposal(TARGET, dirichlet_table(27, 27, seed=20))
    kernel, rng = DelayedAcceptance(OTHER.energy, MetropolisHastings(proposal)), generator(0)
    state = kernel.init(TARGET.sample(300, rng), TARGET.energy)
    for _ in range(10):
        state, _ = kernel.step(state, TARGET.energy, rng)
        assert torch.equal(state.aux["kernel"]["of"], state.x)
        assert torch.equal(state.aux["kernel"]["memory"], proposal.memory(state.x))
        assert torch.equal(state.aux["surrogate"]["memory"][:, 0], OTHER.energy(state.x))


def test_a_search_ends_at_the_lowest_energy_and_not_at_that_of_the_surrogate():
    found = anneal(
        DelayedAcceptance(OTHER.energy, INNER),
        TARGET.energy,
        TARGET.sample(50, generator(0)),
        schedule=geometric(1.0, 0.01),
        steps=200,
        seed=0,
    )
    assert float(found.energy.min()) == float(TARGET.energies.min())


def test_what_it_is_made_of_is_compared_on_resume(tmp_path):
    x0 = TARGET.sample(8, generator(0))
    whole = sample(DelayedAcceptance(shifted(0.5), INNER), TARGET.energy, x0, steps=20, seed=2)
    sample(DelayedAcceptance(shifted(0.5), INNER), TARGET.energy, x0, steps=12, seed=2, run_dir=tmp_path / "run")
    resumed = sample(
        DelayedAcceptance(shifted(0.5), INNER), TARGET.energy, x0, steps=20, seed=2, run_dir=tmp_path / "run"
    )
    assert torch.equal(resumed.draws, whole.draws)
    with pytest.raises(InvalidInput, match="surrogate"):
        sample(DelayedAcceptance(shifted(0.6), INNER), TARGET.energy, x0, steps=30, seed=2, run_dir=tmp_path / "run")


def shifted(slope: float):
    def tilted(x: Tensor) -> Tensor:
        return slope * x[:, 0].double()

    return tilted


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (Cycle([INNER]), "Cycle is not reversible"),
        (Tempered(Gibbs(3), [1.0, 0.5]), "Tempered is not reversible"),
        (Mixture([(Gibbs(3, scan="systematic"), 1.0)]), "Mixture is not reversible"),
        (PseudoGibbs(INNER.proposal), "PseudoGibbs accepts proposals whatever their energy"),
    ],
)
def test_kernels_without_a_known_ratio_are_refused(kernel, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        DelayedAcceptance(OTHER.energy, kernel)


def test_several_steps_of_a_shared_choice_are_refused():
    mixture = Mixture([(Gibbs(3), 0.5), (INNER, 0.5)])
    assert DelayedAcceptance(OTHER.energy, mixture).steps == 1
    with pytest.raises(InvalidInput, match="steps is 2, and Mixture makes one choice for all chains"):
        DelayedAcceptance(OTHER.energy, mixture, steps=2)
    with pytest.raises(InvalidInput, match="steps is 0"):
        DelayedAcceptance(OTHER.energy, INNER, steps=0)


def infinite_at_one(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] == 1, math.inf, 0.0).double()


def test_a_surrogate_that_forbids_what_the_energy_allows_is_an_error_that_shows_the_state():
    x0 = torch.tensor([[0, 1, 2], [1, 2, 0]])
    kernel = DelayedAcceptance(infinite_at_one, INNER)
    with pytest.raises(EnergyError, match=r"infinite_at_one.*infinite where the energy is finite") as caught:
        sample(kernel, TARGET.energy, x0, steps=3)
    assert (caught.value.rows, caught.value.x.tolist()) == ([1], [[1, 2, 0]])


def test_and_so_it_is_where_another_kernel_has_gone_there():
    kernel = Mixture([(DelayedAcceptance(infinite_at_one, INNER), 0.5), (Gibbs(3), 0.5)])
    with pytest.raises(EnergyError, match="give a surrogate that is finite wherever the energy is"):
        sample(kernel, TARGET.energy, torch.zeros(50, 3, dtype=torch.int64), steps=30)
