"""The checks for users' own kernels, proposals and energies: what is right passes, each fault is named."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from examples.my_kernel import Barker
from samplers import Constraint, EnergyTerm, Gibbs, InvalidInput, StepInfo, evaluate, named
from samplers.testing import (
    BatteryFailed,
    SiteProposal,
    check_energy,
    check_kernel,
    check_proposal,
    dirichlet_table,
    enumerate_states,
    random_target,
)

STATES = enumerate_states(4, 3)
CUBE = random_target(3, 3, seed=2588105456)


def failures(caught: pytest.ExceptionInfo[BatteryFailed]) -> set[str]:
    return {result.test for result in caught.value.report.failures}


class Skewed(Barker):
    """Barker's rule with the square of the ratio."""

    def step(self, state, energy, rng, *, beta=1.0):
        return super().step(state, energy, rng, beta=2 * beta)


class Ungraded(Barker):
    """Takes no notice of ``beta``."""

    def step(self, state, energy, rng, *, beta=1.0):
        return super().step(state, energy, rng)


class Wasteful(Barker):
    """Asks the energy for more than it says."""

    def cost(self, x):
        return 1, len(x)

    def step(self, state, energy, rng, *, beta=1.0):
        evaluate(energy, state.x)
        return super().step(state, energy, rng, beta=beta)


class Crosstalk(Barker):
    """All chains accept or reject together."""

    def step(self, state, energy, rng, *, beta=1.0):
        after, info = super().step(state, energy, rng, beta=beta)
        return (after, info) if bool(info.accepted[0]) else (state, StepInfo(*(0 * part for part in info)))


class Proven(Barker):
    """With the exact matrix of a step."""

    def step_matrix(self, space, beta):
        log_q = torch.stack([self.proposal.log_prob(space.states, x.expand_as(space.states)) for x in space.states])
        energy = space.energy(space.states)
        ratio = beta * (energy.unsqueeze(1) - energy) + log_q.T - log_q
        move = (log_q.exp() * ratio.sigmoid()).nan_to_num(0).fill_diagonal_(0)  # NaN: impossible both ways
        return move + torch.diag(1 - move.sum(dim=1))


class TestKernel:
    def test_a_correct_kernel_passes_and_the_report_says_what_was_skipped(self):
        report = check_kernel(Barker, CUBE, draws=2**14)
        assert report.passed
        assert set(report.skipped) == {"T2", "T4b", "T5"}
        assert "Barker: 8 tests passed, 0 failed, 3 skipped" in str(report)
        assert "calls of the energy not checked: Barker has no cost(x)" in str(report)
        assert "no exact matrix is known for Barker: it has no step_matrix(space, beta)" in str(report)

    def test_a_kernel_with_its_matrix_is_proved_exactly(self):
        report = check_kernel(Proven, CUBE, draws=2**14)
        assert not report.skipped
        assert {"T2", "T4b", "T5"} <= {result.test for result in report}

    def test_the_matrix_must_be_that_of_the_code(self):
        class Other(Skewed):
            step_matrix = Proven.step_matrix

        with pytest.raises(BatteryFailed) as caught:
            check_kernel(Other, CUBE, draws=2**14)
        assert "T4b" in failures(caught)
        assert "T2" not in failures(caught)

    def test_a_matrix_with_nan_fails(self):
        class Holed(Barker):
            def step_matrix(self, space, beta):
                return Proven.step_matrix(self, space, beta).fill_diagonal_(math.nan)

        with pytest.raises(BatteryFailed) as caught:
            check_kernel(Holed, CUBE, draws=2**14)
        assert failures(caught) >= {"T2", "T4b"}

    @pytest.mark.parametrize(
        ("kernel", "tests"),
        [(Skewed, {"T3", "T4"}), (Ungraded, {"T3"}), (Crosstalk, {"T8"})],
    )
    def test_a_broken_kernel_fails(self, kernel: type, tests: set[str]):
        with pytest.raises(BatteryFailed) as caught:
            check_kernel(kernel, CUBE, draws=2**14)
        assert tests <= failures(caught)

    def test_a_kernel_that_asks_for_more_than_it_says_fails(self):
        with pytest.raises(BatteryFailed, match="2 calls of the energy with 128 rows, more than 1 with 64"):
            check_kernel(Wasteful, CUBE, draws=2**14)

    def test_an_instance_is_given_three_sites_of_four_values(self):
        report = check_kernel(Gibbs(4), draws=2**14)
        assert "64 states" in str(report)
        assert set(report.skipped) == {"T1"}

    def test_a_claim_that_is_not_made_is_not_tested(self):
        report = check_kernel(Barker, CUBE, reversible=False, draws=2**14)
        assert report.skipped["T4"] == "the kernel does not claim to be reversible"


class Uneven(SiteProposal):
    """Draws evenly what its density says it draws unevenly."""

    def __call__(self, x, rng):
        proposed = super().__call__(x, rng)
        new = x.clone()
        rows, site = torch.arange(len(x)), torch.randint(x.shape[1], (len(x),), generator=rng)
        new[rows, site] = torch.randint(4, (len(x),), generator=rng)
        return replace(proposed, x=new, log_q_forward=self.log_prob(new, x), log_q_reverse=self.log_prob(x, new))


class Misreported(SiteProposal):
    """Returns the forward density for the reverse one."""

    def __call__(self, x, rng):
        proposed = super().__call__(x, rng)
        return replace(proposed, log_q_reverse=proposed.log_q_forward)


class Unnormalised(SiteProposal):
    def log_prob(self, x_to, x_from):
        return super().log_prob(x_to, x_from) + 0.01


class TestProposal:
    TABLES = dirichlet_table(3, 4, 4, seed=13)

    def test_an_honest_proposal_passes(self):
        report = check_proposal(SiteProposal(self.TABLES), STATES, draws=2**14)
        assert "SiteProposal: 3 tests passed, 0 failed" in str(report)

    @pytest.mark.parametrize(("proposal", "test"), [(Uneven, "T1c"), (Misreported, "T1b"), (Unnormalised, "T1a")])
    def test_each_fault_fails_its_own_test(self, proposal: type, test: str):
        with pytest.raises(BatteryFailed) as caught:
            check_proposal(proposal(self.TABLES), STATES, draws=2**14)
        assert failures(caught) == {test}


def tilt(x: Tensor) -> Tensor:
    return (0.3 * x * torch.arange(1, x.shape[1] + 1)).sum(dim=1).double()


class Sharing(EnergyTerm):
    """Scores candidates by themselves, with or without a mistake; its other claims may be wrong too."""

    name = "sharing"

    def __init__(self, mistake: float = 0.0, lower_bound: float = -math.inf, is_constraint: bool = False) -> None:
        self.mistake, self.lower_bound, self.is_constraint = mistake, lower_bound, is_constraint

    def values(self, x, hint=None):
        return tilt(x)

    def candidate_values(self, x, site, values):
        return super().candidate_values(x, site, values) + self.mistake


def once_more(_calls=[]):  # noqa: B006
    _calls.append(0)
    return len(_calls)


def global_draw(x):
    torch.rand(1)
    return tilt(x)


def numpy_draw(x):
    np.random.rand()
    return tilt(x)


def python_draw(x):
    random.random()
    return tilt(x)


def spoil(x):
    value = tilt(x)
    x.zero_()
    return value


class TestEnergy:
    @pytest.mark.parametrize(
        "energy",
        [
            tilt,
            named("tilt", tilt) + 2.0 * Constraint("even", lambda x: x[:, 0] % 2 == 0),
            Sharing(lower_bound=0.0),
            lambda x: x.sum(dim=1),
            lambda x: tilt(x).float(),
        ],
    )
    def test_an_energy_of_the_state_alone_passes(self, energy):
        assert check_energy(energy, STATES).passed

    @pytest.mark.parametrize(
        ("energy", "tests"),
        [
            (lambda x: tilt(x) - tilt(x).mean(), {"half", "alone"}),
            (lambda x: tilt(x) + 0.01 * torch.arange(len(x)), {"reversed", "half", "alone"}),
            (lambda x: tilt(x) + 0.01 * once_more(), {"reversed", "half", "alone", "repeat"}),
            (lambda x: tilt(x) + 0.01 * (x == x[-1]).all(dim=1), {"reversed", "half", "alone"}),
            (spoil, {"argument"}),
            (global_draw, {"random state"}),
            (numpy_draw, {"random state"}),
            (python_draw, {"random state"}),
            (lambda x: tilt(x).bfloat16(), {"values"}),
            (lambda x: x[:, 0] > 1, {"values"}),
            (lambda x: tilt(x).unsqueeze(1), {"values"}),
            (lambda x: tilt(x).log() - tilt(x).log(), {"values"}),
            (lambda x: torch.full((len(x),), math.inf), {"values"}),
            (lambda x: tilt(x).squeeze() if len(x) > 1 else tilt(x).squeeze(0), {"alone"}),
            (Sharing(mistake=0.01), {"candidates"}),
            (Sharing(lower_bound=1.0), {"lower_bound"}),
            (Sharing(is_constraint=True), {"is_constraint"}),
        ],
    )
    def test_each_fault_is_named(self, energy, tests: set[str]):
        with pytest.raises(BatteryFailed) as caught:
            check_energy(energy, STATES)
        assert failures(caught) == tests

    def test_rounding_is_no_fault(self):
        assert check_energy(lambda x: tilt(x) + 1e-6 * len(x), STATES).passed

    def test_one_state_is_no_check(self):
        with pytest.raises(InvalidInput, match="fewer than two states"):
            check_energy(tilt, STATES[:1])

    def test_the_message_shows_the_figures(self):
        with pytest.raises(BatteryFailed, match=r"row 0: -?[\d.]+ nats in the batch, 0 so"):
            check_energy(lambda x: tilt(x) - tilt(x).mean(), STATES)
