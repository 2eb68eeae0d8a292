"""Chains that started low beside chains that started high: false alarms at their rate, and differences seen."""

import math

import pytest
import scipy.stats
import torch

from samplers import InvalidInput, MetropolisHastings, Proposed, compare_starts, diagnose, sample
from samplers.run.start_comparison import two_sided_p

REPLICATES = 2000
P = 0.01


def autoregression(a, chains, kept, seed=0):
    """Stationary, with unit variance: ``[chains, kept]``."""
    noise = torch.randn(kept, chains, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rows = [noise[0]]
    for step in noise[1:]:
        rows.append(a * rows[-1] + math.sqrt(1 - a * a) * step)
    return torch.stack(rows, dim=1)


def halves(chains):
    return torch.arange(chains) % 2 == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 18, 101])
@pytest.mark.parametrize("t", [0.0, 0.5, -2.0, 5.0, 30.0])
def test_the_p_value_is_that_of_students_t(t, freedom):
    assert two_sided_p(t, freedom) == pytest.approx(2 * scipy.stats.t.sf(abs(t), freedom), abs=1e-12)


def test_the_p_value_of_an_infinite_difference_is_zero_and_of_none_one():
    assert two_sided_p(math.inf, 3) == two_sided_p(-math.inf, 3) == 0
    assert two_sided_p(0.0, 3) == 1
    assert math.isnan(two_sided_p(math.nan, 3))


@pytest.mark.parametrize("a", [0.0, 0.9, 0.99])
@pytest.mark.parametrize(
    ("chains", "lengths"), [(4, 1), (10, 1), (14, 7), (10, 7), (20, 3)], ids=["4", "10", "14/7", "10/7", "20/3"]
)
def test_chains_that_have_forgotten_their_starts_differ_as_rarely_as_said(a, chains, lengths):
    """Whether they move fast (``a`` 0) or hardly at all (0.99): the binomial test at 1e-9."""
    groups = [chain % lengths for chain in range(chains)]
    below = torch.tensor([(chain % lengths + chain // lengths) % 2 == 0 for chain in range(chains)])
    values = autoregression(a, REPLICATES * chains, 20).reshape(REPLICATES, chains, 20)
    alarms = sum(compare_starts(each, below, groups).p_value < P for each in values)
    assert scipy.stats.binomtest(alarms, REPLICATES, P).pvalue > 1e-9


@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_means_and_errors_are_those_of_the_chains(gap):
    below = halves(40)
    values = autoregression(0.9, 40, 500) + gap * (~below)[:, None]
    found = compare_starts(values, below)
    assert found.below == pytest.approx(float(values[below].mean()))
    assert found.above == pytest.approx(float(values[~below].mean()))
    assert found.difference == pytest.approx(found.above - found.below)
    theory = math.sqrt(19 / (20 * 500))
    assert found.below_mcse == pytest.approx(theory, rel=0.3)
    assert found.above_mcse == pytest.approx(theory, rel=0.3)
    assert found.standard_errors == pytest.approx(found.difference / math.hypot(found.below_mcse, found.above_mcse))
    assert (found.p_value < 1e-6) is (gap > 0)


def test_lengths_with_means_of_their_own_are_no_difference():
    groups = [chain // 2 for chain in range(14)]
    levels = 10.0 * torch.tensor(groups)[:, None]
    noise = autoregression(0.5, 14, 100)
    found = compare_starts(noise + levels, halves(14), groups)
    assert found.p_value > 0.01
    assert found.below_mcse < 0.3
    apart = compare_starts(noise + levels + 3.0 * ~halves(14)[:, None], halves(14), groups)
    assert apart.difference == pytest.approx(found.difference + 3)
    assert apart.p_value < 1e-4


def test_a_length_that_has_one_kind_of_chain_does_not_count():
    groups, below = [0, 0, 1, 0, 0], torch.tensor([True, False, True, True, False])
    values = autoregression(0.5, 5, 100)
    values[2] += 1e3
    rows = [0, 1, 3, 4]
    assert compare_starts(values, below, groups) == compare_starts(values[rows], below[rows])
    assert compare_starts(values[:1], below[:1]) is None
    assert compare_starts(values, torch.ones(5, dtype=torch.bool)) is None


@pytest.mark.parametrize("chains", [2, 3])
def test_few_chains_have_the_errors_of_their_draws_and_no_verdict(chains):
    values = autoregression(0.5, chains, 400) + 5.0 * ~halves(chains)[:, None]
    found = compare_starts(values, halves(chains))
    assert math.isnan(found.p_value)
    assert found.above_mcse == pytest.approx(diagnose(values[1:2]).mcse)
    assert found.standard_errors > 10


def test_what_is_left_of_a_difference_that_decays():
    steps = torch.arange(400, dtype=torch.float64)
    values = autoregression(0.0, 10, 400) * 0.01 + (~halves(10))[:, None] * torch.exp(-steps / 200)
    assert compare_starts(values, halves(10)).left == pytest.approx(math.exp(-1), abs=0.01)


def test_infinite_energies_are_not_compared():
    values = autoregression(0.5, 4, 10)
    values[0, 0] = math.inf
    assert compare_starts(values, halves(4)) is None


@pytest.mark.parametrize(("values", "below"), [(torch.zeros(4), torch.zeros(4)), (torch.zeros(4, 5), torch.zeros(3))])
def test_other_shapes_are_refused(values, below):
    with pytest.raises(InvalidInput, match=r"give \[chains, kept\] and \[chains\]"):
        compare_starts(values, below.bool())


class Neighbour:
    """One up or down among the numbers 0 to 20, in one step."""

    move_names = ("neighbour",)

    def __call__(self, x, rng):
        step = 2 * torch.randint(2, x.shape, generator=rng) - 1
        log_q = torch.full((len(x),), math.log(0.5), dtype=torch.float64)
        return Proposed((x + step) % 21, log_q, log_q)

    def log_prob(self, x_to, x_from):
        return torch.where(((x_to - x_from) % 21).isin(torch.tensor([1, 20])), math.log(0.5), -math.inf)[:, 0]


def run_from_both_ends(barrier):
    """Two wells, of 0 and 2 nats, and ``barrier`` nats between them: low starts in the one, high ones in the other."""

    def energy(x):
        place = x[:, 0].double()
        height = 2.0 * (place - 10).sign().clamp(min=0)
        return height + barrier * ((place == 0) | (place == 10)).double()

    x0 = torch.where(halves(20), 5, 15)[:, None]
    return sample(MetropolisHastings(Neighbour()), energy, x0, steps=4000, warmup=2000, thin=4, seed=0, progress=False)


def test_two_wells_that_chains_do_not_cross_between_are_seen_and_a_flat_way_is_not():
    apart = compare_starts(run_from_both_ends(15.0).energy, halves(20))
    assert (apart.below, apart.above) == (pytest.approx(0, abs=1e-9), pytest.approx(2, abs=1e-9))
    assert apart.p_value < 1e-9
    together = compare_starts(run_from_both_ends(0.0).energy, halves(20))
    assert together.p_value > 0.01
