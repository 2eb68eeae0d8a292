"""Rejection sampling: its law, its cost, its bound."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from samplers import BoundViolated, EnergyError, InvalidInput, TrialsExhausted, rejection_sample
from tests.samplers.laws import ALPHA, GATE, worst_p_value

LAW = torch.tensor([0.05, 0.15, 0.0, 0.2, 0.6], dtype=torch.float64)
SKEWED = torch.tensor([0.3, 0.1, 0.2, 0.2, 0.2], dtype=torch.float64)
LOG_Z = 1.25
BOUND = LOG_Z + float((LAW / SKEWED).log().max())


def energy(x):
    return -LAW.log()[x] - LOG_Z


def draw(count, *, seed=0, log_bound=BOUND, **options):
    return rejection_sample(energy, Categorical(SKEWED), log_bound=log_bound, num_samples=count, seed=seed, **options)


@pytest.mark.parametrize("batch_size", [50, 4096])
def test_the_law_is_exact(batch_size):
    x = draw(20_000, batch_size=batch_size).x
    assert len(x) == 20_000
    assert worst_p_value(x, LAW.tolist()) > ALPHA
    assert worst_p_value(Categorical(SKEWED).sample((20_000,)), LAW.tolist()) < ALPHA


def test_a_loose_bound_costs_trials_but_not_exactness():
    tight, loose = draw(4000), draw(4000, log_bound=BOUND + 1)
    assert worst_p_value(loose.x, LAW.tolist()) > ALPHA
    assert loose.trials == pytest.approx(math.e * tight.trials, rel=0.2)


@pytest.mark.parametrize("log_bound", [BOUND, BOUND + 0.5])
def test_log_z_and_acceptance(log_bound):
    result = draw(20_000, log_bound=log_bound)
    truth = math.exp(LOG_Z - log_bound)
    assert result.accepted == 20_000
    assert result.acceptance == result.accepted / result.trials
    assert abs(result.acceptance - truth) < GATE * math.sqrt(truth * (1 - truth) / result.trials)
    assert result.log_z == pytest.approx(log_bound + math.log(19_999 / (result.trials - 1)), abs=1e-12)
    assert result.log_z_mcse == pytest.approx(math.sqrt((1 - truth) / 20_000), rel=0.05)
    assert torch.equal(result.energy, energy(result.x))


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_trials_end_with_the_draw_that_completes_the_sample(batch_size):
    target = Categorical(LAW)
    log_bound = float((-energy(torch.tensor([0])) - LAW.log()[0]).max())
    result = rejection_sample(energy, target, log_bound=log_bound, num_samples=30, batch_size=batch_size)
    assert (result.trials, result.accepted, len(result.x)) == (30, 30, 30)
    assert result.log_z == pytest.approx(LOG_Z, abs=1e-12)


def test_same_seed_same_draws():
    assert torch.equal(draw(50).x, draw(50).x)
    assert torch.equal(draw(50).x, rejection_sample(energy, Categorical(SKEWED), log_bound=BOUND, num_samples=50).x)
    assert not torch.equal(draw(50).x, draw(50, seed=1).x)


def test_batches_are_of_4096_trials():
    """Of what a seed means: another size gives other draws."""
    assert [torch.equal(draw(5000).x, draw(5000, batch_size=n).x) for n in (4096, 4097)] == [True, False]


def test_one_trial_can_be_enough():
    certain = Categorical(torch.tensor([0.0, 1.0], dtype=torch.float64))
    log_bound = float(-energy(torch.tensor(1)))
    options = {"log_bound": log_bound, "num_samples": 1, "max_trials": 1, "batch_size": 1}
    result = rejection_sample(energy, certain, **options)
    assert (result.x.tolist(), result.trials) == ([1], 1)


def estimate(seed, **options):
    """``exp(log_z)`` of a complete result or of one whose trials ran out, and its standard error."""
    try:
        result = draw(seed=seed, batch_size=32, **options)
    except TrialsExhausted as exhausted:
        result = exhausted.result
    return math.exp(result.log_z), math.exp(result.log_z) * result.log_z_mcse, result.acceptance


@pytest.mark.parametrize("options", [{"count": 2}, {"count": 5}, {"count": 3, "max_trials": 20}], ids=str)
def test_the_estimate_of_z_is_unbiased_however_the_trials_end(options):
    found = torch.tensor([estimate(seed, log_bound=BOUND + 0.5, **options) for seed in range(1000)])
    truth, error = math.exp(LOG_Z), float(found[:, 0].std()) / math.sqrt(len(found))
    assert abs(float(found[:, 0].mean()) - truth) < 5 * error
    shares = math.exp(BOUND + 0.5) * found[:, 2]  # what was taken for the estimate: draws by trials
    assert abs(float(shares.mean()) - truth) > 5 * error


def test_the_standard_error_is_the_spread_of_the_estimates():
    found = torch.tensor([estimate(seed, count=40, log_bound=BOUND + 0.5) for seed in range(600)])
    assert float(found[:, 1].pow(2).mean().sqrt()) == pytest.approx(float(found[:, 0].std()), rel=0.1)


def test_one_draw_says_nothing_of_z():
    result = draw(1)
    assert math.isnan(result.log_z)
    assert math.isnan(result.log_z_mcse)


def test_a_violated_bound_raises_with_the_worst_point_and_its_excess():
    with pytest.raises(BoundViolated, match=r"by 0.25 nats at x = \[4\]") as caught:
        draw(100, log_bound=BOUND - 0.25)
    assert caught.value.x.tolist() == 4
    assert caught.value.excess == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize(("excess", "violated"), [(0.0, False), (1e-16, False), (1e-12, False), (1e-6, True)])
def test_a_bound_that_is_attained_is_none_that_is_violated(excess, violated):
    def slightly_above(x):
        return torch.full((len(x),), math.log(5) - excess, dtype=torch.float64)

    uniform = Categorical(torch.ones(5, dtype=torch.float64))

    def run():
        return rejection_sample(slightly_above, uniform, log_bound=0.0, num_samples=10)

    if violated:
        with pytest.raises(BoundViolated, match="by 1e-06 nats"):
            run()
    else:
        assert run().trials == 10


def test_too_few_trials_give_what_there_is():
    with pytest.raises(TrialsExhausted, match=r"40 trials gave \d+ of 1000 draws") as caught:
        draw(1000, max_trials=40, batch_size=16)
    result = caught.value.result
    assert (result.trials, result.complete) == (40, False)
    assert result.log_z == pytest.approx(BOUND + math.log(result.accepted / 40))
    assert 0 < result.accepted == len(result.x) == len(result.energy) < 40
    assert torch.equal(result.x, draw(result.accepted, batch_size=16).x)


def test_nothing_accepted_has_a_log_z_of_minus_infinity():
    with pytest.raises(TrialsExhausted, match="20 trials gave 0 of 5") as caught:
        rejection_sample(
            lambda x: torch.full((len(x),), math.inf), Categorical(SKEWED), log_bound=0.0, num_samples=5, max_trials=20
        )
    assert (caught.value.result.log_z, len(caught.value.result.x)) == (-math.inf, 0)


class Bad:
    """A proposal whose density is ``value``."""

    def __init__(self, value):
        self.value = value

    def sample(self, shape):
        return torch.zeros(shape)

    def log_prob(self, x):
        return torch.full((len(x),), self.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_samples": 2.5}, "num_samples is 2.5; give a whole number"),
        ({"num_samples": 0}, "num_samples is 0; give at least 1"),
        ({"max_trials": 0}, "max_trials is 0; give at least 1"),
        ({"batch_size": 0}, "batch_size is 0; give at least 1"),
        ({"log_bound": math.nan}, "log_bound is nan"),
        ({"log_bound": None}, "log_bound is None; give a finite number"),
        ({"log_bound": math.inf}, "log_bound is inf"),
        ({"seed": -3}, "seed is -3"),
        ({"proposal": Normal(torch.zeros(2), 1.0)}, r"shape \[4096, 2\] for 4096 draws.*Independent"),
        ({"proposal": Bad(math.nan)}, "not finite"),
        ({"proposal": Bad(-math.inf)}, "not finite"),
    ],
)
def test_bad_input(bad, message):
    arguments = {"proposal": Categorical(SKEWED), "log_bound": BOUND, "num_samples": 5, **bad}
    with pytest.raises(InvalidInput, match=message):
        rejection_sample(lambda x: torch.zeros(len(x)), arguments.pop("proposal"), **arguments)


def test_nan_energies_are_errors():
    with pytest.raises(EnergyError, match="is NaN"):
        rejection_sample(lambda x: torch.full((len(x),), math.nan), Categorical(SKEWED), log_bound=0.0, num_samples=5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    proposal = Independent(Normal(torch.zeros(2, device="cuda", dtype=torch.float64), 2.0), 1)
    target = Independent(Normal(torch.zeros(2, device="cuda", dtype=torch.float64), 1.0), 1)
    first, again = (
        rejection_sample(lambda x: -target.log_prob(x), proposal, log_bound=math.log(4), num_samples=500)
        for _ in range(2)
    )
    assert first.x.is_cuda
    assert torch.equal(first.x, again.x)
    assert float(first.x.std()) == pytest.approx(1.0, rel=0.2)


def test_a_bound_may_be_a_tensor():
    """As ``-energy(states).min() - log_q`` gives it."""
    result = draw(5, log_bound=torch.tensor(BOUND, dtype=torch.float64))
    assert (torch.equal(result.x, draw(5).x), type(result.log_z)) == (True, float)
