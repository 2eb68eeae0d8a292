"""Pseudo-marginal chains beyond the battery: the law of an estimated factor, what is estimated, kept and refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from samplers import (
    Cycle,
    EnergyError,
    Flat,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    PseudoMarginal,
    Tempered,
    generator,
    pseudo_marginal_report,
    sample,
)
from samplers.testing import SiteProposal, dirichlet_table, random_target, row_result
from samplers.testing.spaces import TabularEstimate

TARGET = random_target(3, 2, seed=4)
NOISY = TabularEstimate(TARGET, 4, seed=43)
INNER = MetropolisHastings(SiteProposal(dirichlet_table(2, 3, 3, seed=5)))


def factor(x: Tensor, noise: Tensor) -> Tensor:
    """An unbiased estimate of ``exp(-energy)``: the whole target."""
    return TARGET.energy(x).unsqueeze(1) + NOISY(x, noise)


@pytest.mark.parametrize("samples", [1, 6])
def test_the_law_is_that_of_the_estimated_factor(samples: int):
    kernel, x0 = PseudoMarginal(factor, Gibbs(3), samples=samples), TARGET.sample(8192, generator(1))
    trace = sample(kernel, Flat(), x0, steps=400, warmup=399, seed=2, shard_size=8192, progress=False)
    end = TARGET.index(trace.draws[:, -1])
    assert row_result("T3", "", end, TARGET.probabilities(), pooled=True).passed


def test_an_estimate_is_kept_until_a_move_is_accepted():
    kernel, rng = PseudoMarginal(factor, INNER, samples=3), generator(0)
    state = kernel.init(TARGET.sample(200, rng), Flat())
    state, _ = kernel.step(state, Flat(), rng)
    for _ in range(10):
        before = state
        state, info = kernel.step(state, Flat(), rng)
        stayed = ~info.changed
        assert torch.equal(state.aux["estimate"][stayed], before.aux["estimate"][stayed])
        assert bool((state.aux["estimate"] != before.aux["estimate"])[info.changed].all())


def test_only_moved_chains_are_estimated_and_the_report_counts_them():
    rows = 0

    def counted(x: Tensor, noise: Tensor) -> Tensor:
        nonlocal rows
        rows += noise.shape[0] * noise.shape[1]
        return factor(x, noise)

    trace = sample(
        PseudoMarginal(counted, INNER, samples=5), Flat(), TARGET.sample(100, generator(0)), steps=20, progress=False
    )
    report = pseudo_marginal_report(trace.final[0])
    assert report["estimates"] == rows < 5 * 100 * 20
    assert 1 < report["weight_ess"] < 5


def test_more_samples_accept_more():
    changed = []
    for samples in (1, 8):
        kernel, x0 = PseudoMarginal(factor, INNER, samples=samples), TARGET.sample(2000, generator(0))
        changed.append(sample(kernel, Flat(), x0, steps=30, seed=1, progress=False).changed)
    assert changed[1] > 1.1 * changed[0]


def test_it_resumes_with_the_estimates_that_it_kept(tmp_path):
    kernel, x0 = PseudoMarginal(factor, INNER, samples=2), TARGET.sample(16, generator(0))
    whole = sample(kernel, Flat(), x0, steps=20, seed=2, progress=False)
    sample(kernel, Flat(), x0, steps=9, seed=2, run_dir=tmp_path / "run", progress=False)
    resumed = sample(kernel, Flat(), x0, steps=20, seed=2, run_dir=tmp_path / "run", progress=False)
    assert torch.equal(resumed.draws, whole.draws)
    assert torch.equal(resumed.final[0].aux["estimate"], whole.final[0].aux["estimate"])


def test_another_kernel_beside_it_is_refused():
    mixture = Mixture([(PseudoMarginal(factor, INNER), 0.5), (Gibbs(3), 0.5)])
    with pytest.raises(InvalidInput, match="put that kernel into the kernel of PseudoMarginal"):
        sample(mixture, Flat(), TARGET.sample(50, generator(0)), steps=20, progress=False)
    inside = PseudoMarginal(factor, Mixture([(INNER, 0.5), (Gibbs(3), 0.5)]))
    sample(inside, Flat(), TARGET.sample(50, generator(0)), steps=20, progress=False)


def test_an_estimate_of_zero_forbids_and_nan_is_an_error():
    forbids = PseudoMarginal(lambda x, u: torch.where(x[:, :1] == 2, math.inf, 0.0).double(), Gibbs(3))
    x0 = torch.zeros(50, 2, dtype=torch.int64)
    trace = sample(forbids, Flat(), x0, steps=20, progress=False)
    assert not bool((trace.draws[..., 0] == 2).any())
    nan = PseudoMarginal(lambda x, u: torch.where(x[:, :1] == 2, math.nan, 0.0).double(), Gibbs(3))
    with pytest.raises(EnergyError, match="estimate"):
        sample(nan, Flat(), x0, steps=20, progress=False)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: PseudoMarginal(factor, INNER, samples=0), "samples is 0"),
        (lambda: PseudoMarginal(factor, INNER, noise=0), "noise is 0"),
        (lambda: PseudoMarginal(factor, Cycle([INNER])), "Cycle is not reversible"),
        (lambda: PseudoMarginal(factor, Tempered(INNER, [1.0, 0.5])), "Tempered is not reversible"),
    ],
)
def test_refused(make, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        make()


def test_an_estimate_of_another_shape_is_refused():
    wrong = PseudoMarginal(lambda x, u: torch.zeros(len(x)), INNER)
    with pytest.raises(InvalidInput, match=r"returned \[9\], not \[9, 1\]"):
        sample(wrong, Flat(), TARGET.states, steps=2, progress=False)
