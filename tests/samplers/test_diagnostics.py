"""Convergence diagnostics against theory, and of chains that stand still."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from arviz_stats.base import array_stats

from samplers import diagnose


def noise(chains, kept, seed=0):
    return torch.randn(chains, kept, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def autoregression(a, chains, kept):
    """Stationary, with unit variance."""
    steps = noise(kept, chains) * math.sqrt(1 - a * a)
    rows = [noise(1, chains, seed=1)[0]]
    for step in steps[1:]:
        rows.append(a * rows[-1] + step)
    return torch.stack(rows, dim=1)


def test_independent_draws():
    found = diagnose(noise(4, 1000) + 3)
    assert found.r_hat == pytest.approx(1, abs=0.01)
    assert found.ess_bulk == pytest.approx(4000, rel=0.15)
    assert found.ess_tail == pytest.approx(4000, rel=0.25)
    assert found.mean == pytest.approx(3, abs=0.1)
    assert found.mcse == pytest.approx(1 / math.sqrt(4000), rel=0.1)


def test_the_ess_of_an_autoregression():
    a, chains, kept = 0.9, 8, 4000
    theory = chains * kept * (1 - a) / (1 + a)
    found = diagnose(autoregression(a, chains, kept))
    assert found.ess_bulk == pytest.approx(theory, rel=0.2)
    assert found.mcse == pytest.approx(1 / math.sqrt(theory), rel=0.2)
    assert found.r_hat == pytest.approx(1, abs=0.02)


def test_chains_that_disagree():
    apart = noise(4, 500) + torch.tensor([0.0, 0.0, 0.0, 3.0])[:, None]
    found = diagnose(apart)
    assert found.r_hat > 1.3
    assert found.ess_bulk < 40


def test_a_chain_that_drifts():
    assert diagnose(noise(4, 500) + torch.linspace(0, 5, 500)).r_hat > 1.3


def ranked_split_r_hat(values):
    """Vehtari et al. 2021, section 4: of the normal scores of the halves, and of those of distances to the median."""
    array = values.numpy()
    half = array.shape[1] // 2
    halves = np.concatenate([array[:, :half], array[:, half:]])

    def r_hat(rows):
        ranks = scipy.stats.rankdata(rows).reshape(rows.shape)
        scores = scipy.stats.norm.ppf((ranks - 3 / 8) / (rows.size + 1 / 4))
        within = scores.var(axis=1, ddof=1).mean()
        between = scores.mean(axis=1).var(ddof=1)
        return math.sqrt((half - 1) / half + between / within)

    return max(r_hat(halves), r_hat(np.abs(halves - np.median(halves))))


@pytest.mark.parametrize("kind", ["heavy tails apart", "same mean, one chain wider", "alike"])
def test_r_hat_is_that_of_ranks(kind):
    values = noise(4, 400)
    last = torch.tensor([False, False, False, True])[:, None]
    if kind == "heavy tails apart":
        values = values / noise(4, 400, seed=1) + 3.0 * last  # Cauchy: without ranks the spread hides the difference
    elif kind == "same mean, one chain wider":
        values = values * torch.where(last, 5.0, 1.0)
    found = diagnose(values).r_hat
    assert found == pytest.approx(ranked_split_r_hat(values), rel=1e-9)
    assert (found > 1.05) is (kind != "alike")


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_tail_ess_is_of_the_outer_twentieths(sign):
    """One tail, of mass 0.06, is kept with probability 0.9 and drawn anew otherwise; all the rest is independent.

    ``I(x <= q05)`` is the tail times a coin of 5/6: its autocorrelation is ``0.9^k (5/6)^2 0.06 0.94 / (0.05 0.95)``.
    """
    mass, stay, chains, kept = 0.06, 0.9, 8, 4000
    u = torch.rand(3, kept, chains, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tail, rows = u[0, 0] < mass, []
    for again, keep, inside in zip(*u, strict=True):
        tail = torch.where(keep < stay, tail, again < mass)
        rows.append(inside - 2.0 * tail)
    correlation = (5 / 6) ** 2 * mass * (1 - mass) / (0.05 * 0.95)
    theory = chains * kept / (1 + 2 * correlation * stay / (1 - stay))
    assert diagnose(sign * torch.stack(rows, dim=1)).ess_tail == pytest.approx(theory, rel=0.2)


@pytest.mark.parametrize(
    "values",
    [torch.full((4, 100), 2.5), noise(4, 3), torch.full((2, 50), math.inf), noise(2, 50).fill_diagonal_(math.inf)],
)
def test_figures_that_do_not_exist_are_nan(values):
    found = diagnose(values)
    assert all(math.isnan(v) for v in (found.r_hat, found.ess_bulk, found.ess_tail, found.mcse))
    assert found.mean == pytest.approx(float(values.mean()))


def test_chains_that_each_stand_still_are_one_draw_each():
    found = diagnose(torch.tensor([[0.0], [1.0], [0.0], [3.0]]).expand(4, 50))
    assert found.mean == 1
    assert not found.r_hat < 1.1
    assert found.ess_bulk == found.ess_tail == 4
    assert found.mcse == pytest.approx(math.sqrt(1.5 * 200 / 199) / 2)  # of the values, whose variance is 1.5


CENTRAL, OUTLYING = 0.0, 4.0


@pytest.mark.parametrize("value", [CENTRAL, 0.45, 0.7, 1.0, OUTLYING])
def test_a_chain_that_stands_still_is_one_draw_wherever_it_stands(value):
    """The mean of four chains, of which one is a single draw, is worth 4^2 / (1 + 3/50) draws at most."""
    values = noise(4, 50)
    values[2] = value
    found = diagnose(values)
    assert found.ess_bulk <= 16 / (1 + 3 / 50) + 1e-9
    assert found.ess_tail <= 16 / (1 + 3 / 50) + 1e-9
    assert found.mcse >= float(values.std()) / math.sqrt(16 / (1 + 3 / 50)) - 1e-9


def test_three_chains_that_stand_still_at_one_value_are_a_draw_each():
    values = noise(4, 50)
    values[1:] = 0.0
    found = diagnose(values)
    assert found.ess_bulk <= 16 / (3 + 1 / 50) + 1e-9


@pytest.mark.parametrize("moves", [1, 3])
def test_a_chain_that_moves_rarely_counts_as_the_draws_that_it_made(moves):
    values = noise(4, 400)
    values[0] = noise(1, moves + 1, seed=1)[0].mul(0.3).repeat_interleave(400 // (moves + 1))
    assert diagnose(values).ess_bulk <= 16 / (1 / (moves + 1) + 3 / 400) + 1e-9


def test_rejected_steps_cost_no_more_than_they_do():
    """A value is redrawn with probability 0.3 and kept otherwise: 0.3 / 1.7 of the draws count, for each chain."""
    values, redrawn = noise(8, 4000), torch.rand(8, 4000, generator=torch.Generator().manual_seed(1)) < 0.3
    for step in range(1, 4000):
        values[:, step] = torch.where(redrawn[:, step], values[:, step], values[:, step - 1])
    assert diagnose(values).ess_bulk == pytest.approx(32_000 * 0.3 / 1.7, rel=0.1)


@pytest.mark.parametrize("chains", [1, 4])
@pytest.mark.parametrize("kind", ["indicator", "rare indicator", "counts"])
def test_independent_draws_with_many_repeats_lose_none(kind, chains):
    """Of a rare indicator most chains have one value only; they do not stand still."""
    share, most = {"indicator": (0.3, 1), "rare indicator": (0.004, 1), "counts": (0.5, 6)}[kind]
    uniform = torch.rand(50, chains, 100, most, generator=torch.Generator().manual_seed(0))
    judged = [draws for draws in (uniform < share).sum(dim=3).double() if len(draws.unique()) > 1]
    assert len(judged) > 10
    for draws in judged:
        both = [float(array_stats.ess(draws.numpy(), chain_axis=0, draw_axis=1, method=m)) for m in ("bulk", "folded")]
        assert diagnose(draws).ess_bulk == min(*both, chains * 100)


@pytest.mark.parametrize("kept", [300, 4000])
def test_what_rounding_adds_to_a_text_that_comes_back_is_no_news(kept):
    """Nine of ten draws are one text, scored a little differently for a hundred steps at a time."""
    rng = torch.Generator().manual_seed(0)
    elsewhere = torch.rand(6, kept, generator=rng) < 0.1
    values = torch.where(elsewhere, noise(6, kept, seed=1).abs() + 7, 2.786524)
    rounded = values + 1e-6 * torch.rand(6, kept // 100, generator=rng).repeat_interleave(100, dim=1)
    assert diagnose(rounded).ess_bulk == pytest.approx(diagnose(values).ess_bulk, rel=1e-3)
    assert diagnose(rounded).r_hat == pytest.approx(diagnose(values).r_hat, abs=1e-4)
    assert diagnose(rounded).mean == float(rounded.mean())


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_small_differences_count_beside_large_ones(scale):
    """A value far away, or far from zero, ties none of the others."""
    for values in (noise(4, 500) + 1e5, torch.cat([noise(4, 500), torch.full((4, 1), 1e9)], dim=1)):
        assert diagnose(scale * values).ess_bulk == pytest.approx(2000, rel=0.25)


def test_a_constant_up_to_rounding_is_a_constant():
    values = 2.786524 + 1e-6 * torch.rand(4, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert math.isnan(diagnose(values).r_hat)


def test_chains_that_cancel_out_their_own_errors_have_a_mean_that_is_worth_more_than_their_draws():
    """The variance of the mean of an autoregression of ``a`` is ``(1 + a) / (1 - a)`` of that of independent draws."""
    for chains in (3, 4, 7):
        found = diagnose(autoregression(-0.5, chains, 2000)).mcse
        assert found == pytest.approx(math.sqrt(1 / 3 / (chains * 2000)), rel=0.1)


def test_a_single_chain_is_judged_by_its_halves():
    rng = torch.Generator().manual_seed(0)
    steady = torch.randn(1, 400, dtype=torch.float64, generator=rng)
    drifting = steady + torch.linspace(0, 5, 400, dtype=torch.float64)
    assert diagnose(steady).r_hat < 1.02
    assert 300 < diagnose(steady).ess_bulk < 500
    assert diagnose(drifting).r_hat > 1.5
