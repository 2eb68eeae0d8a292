"""Importance sampling: estimates against truth, weights by hand, and the diagnosis of bad proposals."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from samplers import EnergyError, InvalidInput, generator, importance_sample
from samplers.randomness import repeated
from tests.samplers.laws import ALPHA, GATE, worst_p_value

LAW = torch.tensor([0.05, 0.15, 0.0, 0.2, 0.6], dtype=torch.float64)
SKEWED = torch.tensor([0.3, 0.1, 0.2, 0.2, 0.2], dtype=torch.float64)
LOG_Z = -2.5


def energy(x):
    return -LAW.log()[x] - LOG_Z


class Fixed:
    """Always the same points ``0..n-1`` with the same density."""

    def sample(self, shape):
        return torch.arange(*shape)

    def log_prob(self, x):
        return torch.full((len(x),), math.log(0.25), dtype=torch.float64)


def by_hand(weights, **options):
    """An importance sample whose unnormalised weights are ``weights``."""
    log_target = torch.tensor(weights, dtype=torch.float64).log() + math.log(0.25)
    return importance_sample(lambda x: -log_target[x], Fixed(), num_samples=len(weights), **options)


def test_weights_ess_and_log_z_by_hand():
    result = by_hand([1.0, 2.0, 3.0, 0.0])
    assert result.log_weights.exp().tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0])
    assert result.ess == pytest.approx(36 / 14)
    assert result.log_z == pytest.approx(math.log(6 / 4))
    weights = torch.tensor([1.0, 2.0, 3.0, 0.0])
    assert result.log_z_mcse == pytest.approx(float(weights.std() / weights.mean()) / 2)
    assert math.isnan(by_hand([1.0]).log_z_mcse)
    assert result.expectation(lambda x: x) == pytest.approx((2 + 2 * 3) / 6)
    assert result.expectation(lambda x: torch.stack([x, x == 1], dim=1)).tolist() == pytest.approx([8 / 6, 2 / 6])
    assert math.isnan(result.pareto_k)


def test_equal_weights_are_a_plain_sample():
    result = by_hand([0.5] * 100)
    assert result.ess == pytest.approx(100)
    assert result.log_z_mcse == pytest.approx(0, abs=1e-8)
    assert math.isnan(result.pareto_k)


@pytest.mark.parametrize("batch_size", [1000, 4096])
def test_expectations_and_log_z_against_the_truth(batch_size):
    n = 20_000
    result = importance_sample(energy, Categorical(SKEWED), num_samples=n, batch_size=batch_size)
    ratio = LAW / SKEWED
    assert len(result.x) == len(result.energy) == n
    spread = float((SKEWED * (ratio - 1) ** 2).sum())
    assert abs(math.exp(result.log_z - LOG_Z) - 1) < GATE * math.sqrt(spread / n)
    for value in range(5):
        indicator = (torch.arange(5) == value).double()
        error = math.sqrt(float((SKEWED * ratio**2 * (indicator - LAW[value]) ** 2).sum()) / n)
        estimate = float(result.expectation(lambda x, value=value: x == value))
        assert abs(estimate - float(LAW[value])) <= GATE * error
    assert result.ess == pytest.approx(n / (1 + spread), rel=0.05)
    assert math.isnan(result.pareto_k) or result.pareto_k < 0.7


def test_resampled_states_follow_the_weights():
    result = by_hand([1.0, 2.0, 3.0, 0.0])
    assert worst_p_value(result.resample(20_000), [1 / 6, 2 / 6, 3 / 6, 0.0]) > ALPHA
    assert torch.equal(result.resample(20), result.resample(20))
    assert not torch.equal(result.resample(20), result.resample(20, seed=1))


def test_a_forbidden_draw_adds_nothing_to_an_expectation():
    result = by_hand([1.0, 2.0, 3.0, 0.0])
    infinite = torch.tensor([0.0, 0.0, 0.0, math.inf])
    assert result.expectation(lambda x: x + infinite) == pytest.approx((2 + 2 * 3) / 6)


def test_resampling_has_a_stream_of_its_own():
    """One seed for both calls, the default, must not choose states by the numbers that drew them."""
    result = by_hand([1.0] * 1000)
    of_its_own, of_the_draws = (generator(0, stream=stream) for stream in ("resample", "importance"))
    assert torch.equal(result.resample(50), result.x[repeated(result.log_weights, 50, of_its_own)])
    assert not torch.equal(result.resample(50), result.x[repeated(result.log_weights, 50, of_the_draws)])


def test_a_negative_number_of_states_is_refused():
    with pytest.raises(InvalidInput, match="count is -1; give at least 0"):
        by_hand([1.0]).resample(-1)


def normal_energy(scale):
    return lambda x: 0.5 * (x / scale) ** 2


def pareto_k(*, target, proposal):
    q = Normal(torch.tensor(0.0, dtype=torch.float64), proposal)
    return importance_sample(normal_energy(target), q, num_samples=5000).pareto_k


def test_pareto_k_tells_a_wide_proposal_from_a_narrow_one():
    assert pareto_k(target=1.0, proposal=1.5) < 0.5
    assert pareto_k(target=3.0, proposal=1.0) > 0.7


def test_log_z_of_a_density():
    q = Normal(torch.tensor(0.0, dtype=torch.float64), 1.5)
    result = importance_sample(normal_energy(1.0), q, num_samples=20_000)
    assert result.log_z == pytest.approx(0.5 * math.log(2 * math.pi), abs=0.05)


def test_same_seed_same_draws():
    first, again, other = (
        importance_sample(energy, Categorical(SKEWED), num_samples=50, seed=seed).x for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, importance_sample(energy, Categorical(SKEWED), num_samples=50).x)


def test_batches_are_of_4096_draws():
    """Of what a seed means: another size gives other draws."""
    plain = importance_sample(energy, Categorical(SKEWED), num_samples=5000).x
    sizes = (4096, 4097)
    same = [importance_sample(energy, Categorical(SKEWED), num_samples=5000, batch_size=n).x for n in sizes]
    assert [torch.equal(plain, x) for x in same] == [True, False]


def test_one_draw_in_a_batch_of_one():
    result = importance_sample(energy, Categorical(torch.tensor([0.0, 1.0])), num_samples=1, batch_size=1)
    assert result.x.tolist() == [1]
    assert result.log_weights.tolist() == [0.0]
    assert result.log_z == pytest.approx(-float(energy(torch.tensor(1))))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_samples": 2.5}, "num_samples is 2.5; give a whole number"),
        ({"num_samples": 0}, "num_samples is 0; give at least 1"),
        ({"batch_size": 0}, "batch_size is 0; give at least 1"),
        ({"energy": lambda x: torch.full((len(x),), math.inf)}, "all 7 draws are forbidden"),
        ({"proposal": Normal(torch.zeros(2), 1.0)}, r"shape \[7, 2\] for 7 draws"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(bad, message):
    arguments = {"energy": energy, "proposal": Categorical(SKEWED), "num_samples": 7, **bad}
    with pytest.raises(InvalidInput, match=message):
        importance_sample(arguments.pop("energy"), arguments.pop("proposal"), **arguments)


def test_nan_energies_are_errors():
    with pytest.raises(EnergyError, match="is NaN"):
        importance_sample(lambda x: torch.full((len(x),), math.nan), Categorical(SKEWED), num_samples=5)


@pytest.mark.parametrize(("draws", "fitted"), [(24, False), (25, True)])
def test_a_tail_is_fitted_from_25_weights_on(draws, fitted):
    q = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(1), 1.0), 1)
    result = importance_sample(lambda x: 0.3 * x[:, 0] ** 2, q, num_samples=draws, seed=1)
    assert math.isnan(result.pareto_k) != fitted
