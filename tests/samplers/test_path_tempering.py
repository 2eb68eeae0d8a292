"""Replica exchange on the path to a distribution: its law, its rungs, and what it refuses."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from samplers import (
    ConditionalSMC,
    Cycle,
    EnergyError,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    PathTempered,
    ProposalError,
    PseudoGibbs,
    Tempered,
    generator,
    iterate,
    sample,
    swap_report,
)
from samplers.kernels.path_tempering import evenly_placed
from samplers.testing import SiteProposal, TabularDistribution, TabularProposal, dirichlet_table, random_target
from samplers.testing.cases import Case
from samplers.testing.law_checks import check_end_law, check_matrix
from tests.samplers.doubles import Replace
from tests.samplers.resuming import interrupted, signature

TARGET = random_target(2, 3, seed=1134066760, forbidden=2)
ALLOWED = (TARGET.energies != math.inf).nonzero().squeeze(1)
Q = dirichlet_table(8, seed=40)
KERNEL = MetropolisHastings(SiteProposal(dirichlet_table(3, 2, 2, seed=17)))


def path(temperatures=(0.4, 1.0), *, kernel=KERNEL, probabilities=Q, **options):
    return PathTempered(kernel, TabularDistribution(TARGET, probabilities), temperatures, **options)


def starts(chains):
    return TARGET.states[ALLOWED[torch.arange(chains) % len(ALLOWED)]]


def run(kernel, chains=20, **options):
    options = {"steps": 30, "seed": 2, "progress": False} | options
    return sample(kernel, TARGET.energy, starts(chains), **options)


def test_a_mixture_that_draws_its_part_for_each_rung_is_exact():
    kernel = path((1.0,), kernel=Mixture([(KERNEL, 0.5), (Gibbs(2), 0.5)]))
    case = Case("mixture", kernel, TARGET, reversible=False)
    assert all(result.passed for result in [*check_matrix(case), *check_end_law(case, draws=2**13)])


def test_where_q_is_the_target_every_swap_is_accepted():
    trace = run(path(probabilities=TARGET.probabilities()))
    report = swap_report(trace.final[0])
    assert report["swap_rates"] == [1.0, 1.0]
    assert report["barrier"] == 0
    assert report["rungs_wanted"] == 1
    assert min(report["round_trips"]) > 0


def test_a_frozen_kernel_crosses_by_the_draws_alone():
    """The draws reach rung 0 by swaps, and with the right frequencies."""
    stay = TabularProposal(TARGET, torch.eye(8, dtype=torch.float64))
    trace = run(path((1.0,), kernel=MetropolisHastings(stay)), chains=3000, steps=60, warmup=59, shard_size=3000)
    law = TARGET.index(trace.draws[:, -1]).bincount(minlength=8) / 3000
    assert float((law - TARGET.probabilities()).abs().max()) < 0.05


def test_the_barrier_is_the_sum_of_the_rejections_and_asks_for_rungs():
    report = swap_report(run(path((0.25, 0.5, 1.0)), chains=200).final[0])
    rejected = sum(1 - rate for rate in report["swap_rates"])
    assert report["barrier"] == pytest.approx(rejected)
    assert report["rungs_wanted"] == math.ceil(2 * rejected) + 1
    assert report["rungs"] == [1.0, 0.5, 0.25, 0.0]
    fresh = path().init(starts(2), TARGET.energy)
    assert math.isnan(swap_report(fresh)["barrier"])
    assert swap_report(fresh)["rungs_wanted"] == 0


class TestPlacing:
    def test_rungs_are_at_even_distances_along_the_barrier(self):
        rungs = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
        placed = evenly_placed(rungs, torch.tensor([0.1, 0.3], dtype=torch.float64))
        assert placed.tolist() == pytest.approx([1.0, 0.5 * (1 - 0.1 / 0.3), 0.0])
        even = evenly_placed(rungs, torch.tensor([0.2, 0.2], dtype=torch.float64))
        assert even.tolist() == pytest.approx(rungs.tolist())

    @pytest.mark.parametrize("rates", [[0.0, 0.0, 0.0], [math.nan] * 3, [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    def test_they_stay_apart_whatever_was_rejected(self, rates):
        rungs = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
        placed = evenly_placed(rungs, torch.tensor(rates, dtype=torch.float64)).tolist()
        assert placed[0] == 1
        assert placed[-1] == 0
        assert all(a > b for a, b in pairwise(placed))

    def test_neighbours_reject_alike_afterwards(self):
        narrow = torch.full((8,), 0.002, dtype=torch.float64)
        narrow[ALLOWED[0]] = 1 - 7 * 0.002
        trace = run(path((0.9, 0.95, 1.0), probabilities=narrow, tune=400), chains=200, steps=800, warmup=400)
        rates = swap_report(trace.final[0])["swap_rates"]
        assert max(rates) - min(rates) < 0.1
        before = swap_report(run(path((0.9, 0.95, 1.0), probabilities=narrow), chains=200, steps=400).final[0])
        assert max(before["swap_rates"]) - min(before["swap_rates"]) > 0.2

    def test_rungs_stay_after_that_and_the_counts_begin_anew(self):
        kernel, rungs, tried = path(tune=16), [], []
        for _, state, _ in iterate(kernel, TARGET.energy, starts(6), steps=40, rng=generator(0)):
            rungs.append(state.aux["rungs"].tolist())
            tried.append(state.aux["tried"].tolist())
        assert [step for step in range(1, 40) if rungs[step] != rungs[step - 1]] == [3, 7, 15]
        assert tried[15] == [0, 0]
        assert tried[17] == [6, 6]

    @pytest.mark.parametrize("stop", [1, 5, 8, 20])
    def test_a_run_that_stopped_has_the_same_rungs_and_draws(self, stop, tmp_path):
        kernel = path(tune=16)
        resumed = interrupted(partial(run, kernel, chains=5, shard_size=3), tmp_path, at=stop)
        assert signature(resumed) == signature(run(kernel, chains=5, shard_size=3))


def test_a_chain_at_a_state_that_q_cannot_draw_stays_with_the_inner_kernel():
    narrow = torch.zeros(8, dtype=torch.float64)
    narrow[ALLOWED[:2]] = 0.5
    kernel = path((0.5, 1.0), probabilities=narrow, kernel=Gibbs(2))
    trace = sample(kernel, TARGET.energy, starts(4000), steps=30, warmup=29, seed=1, shard_size=4000, progress=False)
    law = TARGET.index(trace.draws[:, -1]).bincount(minlength=8) / 4000
    assert float((law - TARGET.probabilities()).abs().max()) < 0.05


def test_an_energy_that_is_nan_is_rejected_on_every_rung_where_that_is_asked_for():
    def energy(x):
        return torch.where((x == TARGET.states[ALLOWED[0]]).all(dim=1), math.nan, TARGET.energy(x))

    for kernel in (path(), ConditionalSMC(path().distribution, KERNEL, num_particles=3, temperatures=[0.5, 1.0])):
        trace = sample(kernel, energy, starts(6)[1:2], steps=9, nan="reject", progress=False)
        assert trace.nan_rejected > 0
        with pytest.raises(EnergyError, match="NaN"):
            sample(kernel, energy, starts(6)[1:2], steps=15, progress=False)


def test_draws_of_another_width_are_told():
    kernel = path((1.0,))
    kernel.distribution.sample = lambda shape: torch.zeros(*shape, 4, dtype=torch.int64)
    with pytest.raises(ProposalError, match=r"draws of the distribution are .*\[2, 4\], the chains .*\[2, 3\]"):
        run(kernel, chains=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: path((0.5,)), "that rise to 1"),
        (lambda: path((0.0, 1.0)), "that rise to 1"),
        (lambda: path(tune=-1), "tune is -1"),
        (lambda: path(kernel=PseudoGibbs(Replace(2))), "PseudoGibbs accepts proposals whatever their energy"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize(
    "kernel",
    [
        Cycle([KERNEL, Gibbs(2)]),
        Tempered(KERNEL, [1.0, 0.5]),
        path(),
        Gibbs(2, scan="systematic"),
        Mixture([(Gibbs(2), 0.5), (Cycle([KERNEL]), 0.5)]),
    ],
    ids=lambda kernel: type(kernel).__name__,
)
def test_conditional_smc_takes_reversible_kernels_only(kernel):
    with pytest.raises(InvalidInput, match=f"{type(kernel).__name__} is not reversible, .* give a reversible"):
        ConditionalSMC(path().distribution, kernel, num_particles=2, temperatures=[0.5, 1.0])
    mixture = Mixture([(KERNEL, 0.5), (Gibbs(2), 0.5)])
    assert ConditionalSMC(path().distribution, mixture, num_particles=2, temperatures=[0.5, 1.0]).kernel is mixture
