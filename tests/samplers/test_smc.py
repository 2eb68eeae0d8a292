"""Sequential Monte Carlo: its estimate of Z, its law, its runs in a folder, and conditional SMC."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

from samplers import (
    ConditionalSMC,
    EnergyError,
    Gibbs,
    Interrupted,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    PopulationDied,
    ProposalError,
    PseudoGibbs,
    StoreError,
    TooManyNaN,
    generator,
    sample,
    smc,
)
from samplers.randomness import systematic
from samplers.storage.tensor_file import load_record, save_record
from samplers.testing import TabularDistribution, TabularProposal, dirichlet_table, enumerate_states, random_target
from samplers.testing.targets import Enumerated
from tests.samplers.doubles import Replace, Watched
from tests.samplers.laws import ALPHA, worst_p_value
from tests.samplers.resuming import signature

COMMIT = "shards/00001/commit.safetensors"
TARGET = random_target(3, 3, seed=2004911389, forbidden=5)
Q = dirichlet_table(27, seed=3)
KERNEL = MetropolisHastings(Replace(3))
LOG_Z = float((-TARGET.energies).logsumexp(dim=0))


def q(probabilities=Q, target=TARGET):
    return TabularDistribution(target, probabilities)


def run(energy=TARGET.energy, distribution=None, kernel=KERNEL, **options):
    options = {"num_particles": 6, "moves": 2, "populations": 3, "seed": 4, "progress": False, **options}
    return smc(energy, distribution or q(), kernel, **options)


def everything(result):
    return signature(result) | {name: value for name, value in vars(result).items() if not torch.is_tensor(value)}


class WrongDensity(TabularDistribution):
    """Weights without log q."""

    def log_prob(self, value):
        return torch.full((len(value),), -math.log(27), dtype=torch.float64)


@pytest.mark.parametrize("temperatures", [[0.3, 1.0], pytest.param([0.2, 0.6, 1.0], marks=pytest.mark.slow)], ids=str)
def test_the_mean_of_2000_estimates_is_z(temperatures):
    """Unbiased with given temperatures, however few the particles, and with forbidden states."""
    options = {"num_particles": 8, "moves": 1, "populations": 2000, "temperatures": temperatures, "min_ancestors": 1}
    ratios = (run(**options).log_z - LOG_Z).exp()
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios))


def test_weights_without_log_q_give_another_number():
    options = {"num_particles": 8, "moves": 1, "populations": 300, "temperatures": [1.0], "min_ancestors": 1}
    ratios = (run(distribution=WrongDensity(TARGET, Q), **options).log_z - LOG_Z).exp()
    assert abs(ratios.mean() - 1) > 4 * ratios.std() / math.sqrt(len(ratios))


def test_many_particles_follow_the_target():
    result = run(num_particles=20_000, populations=1)
    law = TARGET.index(result.x).bincount(minlength=27) / len(result.x)
    assert float((law - TARGET.probabilities()).abs().max()) < 0.02
    assert abs(float(result.log_z) - LOG_Z) < 0.05
    assert torch.equal(result.energy, TARGET.energy(result.x))
    assert result.temperatures[0][-1] == 1
    assert result.uncovered == result.nan_rejected == 0


def test_the_next_temperature_leaves_half_of_the_particles_in_effect():
    stages = run(num_particles=5000, populations=2, energy=lambda x: 40 * TARGET.energy(x))
    for temperatures, ess in zip(stages.temperatures, stages.ess, strict=True):
        assert list(temperatures) == sorted(temperatures)
        assert len(temperatures) > 2
        allowed = [share / 5000 for share in ess[1:-1]]
        assert allowed == pytest.approx([0.5] * len(allowed), abs=1e-6)


def test_estimates_of_several_populations():
    result = run(num_particles=4, min_ancestors=1)
    mean = result.log_z.exp().mean()
    assert result.log_z_mean == pytest.approx(float(mean.log()))
    assert result.log_z_mcse == pytest.approx(float(result.log_z.exp().std() / math.sqrt(3) / mean))
    weights = result.log_weights.exp().reshape(3, 4)
    assert torch.allclose(weights, (result.log_z.exp() / mean / 12).unsqueeze(1).expand(3, 4))
    assert float(result.expectation(lambda x: torch.ones(len(x)))) == pytest.approx(1)
    assert math.isnan(run(populations=1).log_z_mcse)
    assert result.resample(5).shape == (5, 3)


def test_particles_drawn_again_by_weight():
    result = run(num_particles=3, populations=2, min_ancestors=1)
    drawn = result.resampled(20_000, seed=1)
    assert worst_p_value(drawn, result.log_weights.exp().tolist()) > ALPHA


def test_the_best_particles_are_different_states_from_the_lowest_energy_on():
    result = run(num_particles=400)
    states = TARGET.states[TARGET.energies.argsort()]
    states = states[[bool((state == result.x).all(dim=1).any()) for state in states]]
    assert torch.equal(result.best(3), states[:3])
    assert torch.equal(result.best(30), torch.cat([states, states])[:30])


def test_systematic_resampling_takes_each_row_as_often_as_its_weight_says():
    weights = torch.tensor([0.05, 0.0, 0.3, 0.65], dtype=torch.float64)
    rng = generator(0)
    counts = torch.stack([systematic(weights.log(), rng).bincount(minlength=4) for _ in range(4000)]).double()
    assert bool(((counts - 4 * weights).abs() < 1).all())
    assert torch.allclose(counts.mean(dim=0), 4 * weights, atol=0.05)
    assert len({tuple(row) for row in counts.tolist()}) > 1


class TestDeath:
    def test_few_ancestors(self):
        with pytest.raises(PopulationDied, match=r"of the 6 draws of population 0 only 1 have descendants at t = 1,"):
            run(energy=lambda x: 600 * TARGET.energy(x), temperatures=[1.0])

    def test_none_allowed(self):
        only_forbidden = (TARGET.energies == math.inf).double() / 2
        with pytest.raises(PopulationDied, match="all 6 particles of population 0 are forbidden"):
            run(distribution=q(only_forbidden))

    def test_a_path_without_end(self, monkeypatch):
        monkeypatch.setattr("samplers.population.MOST_STAGES", 2)
        with pytest.raises(PopulationDied, match="after 2 stages population 0 is at t = 0"):
            run(energy=lambda x: 600 * TARGET.energy(x), num_particles=50)


def test_a_distribution_that_misses_a_part_of_the_target_is_told():
    allowed = (TARGET.energies != math.inf).nonzero().squeeze(1)
    narrow = torch.zeros(27, dtype=torch.float64)
    narrow[allowed[:4]] = 0.25
    with pytest.warns(UserWarning, match=r"cannot draw \d+ of 1200 particles: it misses a part of the target"):
        result = run(distribution=q(narrow), num_particles=400)
    assert 0 < result.uncovered < 1200
    covered = float((-TARGET.energies[allowed[:4]]).logsumexp(dim=0))
    assert result.log_z_mean == pytest.approx(covered, abs=0.3)
    start = TARGET.states[allowed[4:5]]
    with pytest.raises(ProposalError, match="the distribution cannot draw the state of chain 0; give one that covers"):
        sample(ConditionalSMC(q(narrow), num_particles=2), TARGET.energy, start, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_particles": 1}, "num_particles is 1; give at least 2"),
        ({"num_particles": 2.5}, "num_particles is 2.5; give a whole number"),
        ({"moves": 0}, "moves is 0; give at least 1"),
        ({"populations": 0}, "populations is 0; give at least 1"),
        ({"min_ancestors": 0}, "min_ancestors is 0; give at least 1"),
        ({"temperatures": []}, r"temperatures is \[\]; give numbers above 0 that rise to 1"),
        ({"temperatures": [0.5, 0.5, 1.0]}, "give numbers above 0 that rise to 1"),
        ({"temperatures": [0.0, 1.0]}, "give numbers above 0 that rise to 1"),
        ({"temperatures": [math.nan, 1.0]}, "give numbers above 0 that rise to 1"),
        ({"temperatures": [0.5]}, "give numbers above 0 that rise to 1"),
        ({"nan": "ignore"}, "nan is 'ignore'; choose 'raise' or 'reject'"),
        ({"seed": -1}, "seed is -1"),
        ({"shards": []}, r"shards is \[\]; give some of 0..2, each once"),
        ({"shards": [3]}, r"shards is \[3\]; give some of 0..2, each once"),
        ({"kernel": PseudoGibbs(TabularProposal(TARGET, Q.expand(27, 27)))}, "PseudoGibbs accepts proposals whatever"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else each,
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message):
        run(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_particles": 1}, "num_particles is 1; give at least 2"),
        ({"num_particles": 2, "moves": 0}, "moves is 0"),
        ({"num_particles": 2, "temperatures": [0.5, 1.0]}, "those below 1 need a kernel"),
        ({"num_particles": 2, "temperatures": [2.0, 1.0]}, "that rise to 1"),
    ],
    ids=str,
)
def test_bad_input_of_conditional_smc(options, message):
    with pytest.raises(InvalidInput, match=message):
        ConditionalSMC(q(), **options)


class TestNaN:
    def energy(self, share):
        def energy(x):
            return torch.where((x == 2).all(dim=1), math.nan, TARGET.energy(x)) if share else TARGET.energy(x)

        return energy

    def test_it_is_an_error(self):
        with pytest.raises(EnergyError, match="NaN"):
            run(energy=self.energy(1), num_particles=60)

    def test_it_may_be_rejected(self):
        result = run(energy=self.energy(1), num_particles=20, populations=1, nan="reject")
        assert result.nan_rejected > 0
        assert not bool((result.x == 2).all(dim=1).any())

    def test_too_many_are_an_error(self):
        with pytest.raises(TooManyNaN):
            run(energy=self.energy(1), num_particles=5000, nan="reject")


class Crash(BaseException):
    pass


def failing_at(call):
    calls = iter(range(call))

    def crash():
        if next(calls, None) is None:
            raise Crash

    return Watched(TARGET.energy, crash)


@pytest.fixture
def _no_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


RUNS = {
    "adaptive": {},
    "given": {"temperatures": [0.2, 0.6, 1.0]},
    "mixture": {"kernel": Mixture([(KERNEL, 0.5), (Gibbs(3), 0.5)]), "nan": "reject"},
}
runs = pytest.mark.parametrize("name", RUNS)


@pytest.mark.usefixtures("_no_sync")
class TestFolder:
    def test_populations_can_be_run_apart(self, tmp_path):
        parts = [run(energy=Watched(TARGET.energy), run_dir=tmp_path, shards=[index]) for index in (2, 0, 1)]
        whole = run(energy=Watched(TARGET.energy))
        assert everything(run(energy=failing_at(0), run_dir=tmp_path)) == everything(whole)
        assert [float(part.log_z) for part in parts] == [float(whole.log_z[index]) for index in (2, 0, 1)]

    @runs
    def test_a_run_that_crashed_at_any_call_ends_in_the_same_particles(self, name, tmp_path):
        whole = everything(run(energy=Watched(TARGET.energy), **RUNS[name]))
        crashes = 0
        for call in range(10_000):
            folder = tmp_path / str(call)
            try:
                run(energy=failing_at(call), run_dir=folder, **RUNS[name])
                break
            except Crash:
                crashes += 1
            assert everything(run(energy=Watched(TARGET.energy), run_dir=folder, **RUNS[name])) == whole
            again = run(energy=failing_at(0), run_dir=folder, **RUNS[name])
            assert everything(again) == whole, "read again"
        assert crashes > 10

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_lets_the_stage_end_and_keeps_it(self, number, tmp_path):
        once = iter([number])
        interrupting = Watched(TARGET.energy, lambda: [signal.raise_signal(each) for each in once])
        with pytest.raises(Interrupted, match="kept in") as stopped:
            run(energy=interrupting, run_dir=tmp_path)
        assert (stopped.value.signal, stopped.value.done) == (number, 1)
        assert everything(run(energy=Watched(TARGET.energy), run_dir=tmp_path)) == everything(run())

    @pytest.mark.parametrize(
        "change",
        [{"num_particles": 7}, {"moves": 3}, {"temperatures": [0.5, 1.0]}, {"populations": 4}, {"seed": 5},
         {"min_ancestors": 1}, {"kernel": Gibbs(3)}, {"distribution": q(dirichlet_table(27, seed=4))}],
        ids=lambda change: next(iter(change)),
    )  # fmt: skip
    def test_another_run_is_refused(self, change, tmp_path):
        run(run_dir=tmp_path)
        with pytest.raises(InvalidInput, match=f"{next(iter(change))}.* was .* and is now"):
            run(run_dir=tmp_path, **change)

    @pytest.mark.parametrize(
        "change",
        [
            {"energy": torch.full((6,), math.nan, dtype=torch.float64)},
            {"energy": torch.zeros(5, dtype=torch.float64)},
            {"log_q": torch.full((6,), math.inf, dtype=torch.float64)},
            {"ancestor": torch.full((6,), 6)},
            {"log_z": torch.tensor(math.inf, dtype=torch.float64)},
            {"uncovered": torch.tensor(7)},
            {"stages": torch.tensor([[1.5, 2.0, 0.5]], dtype=torch.float64)},
            {"stages": torch.zeros(0, 3, dtype=torch.float64)},
            {"nan": torch.tensor([1, 2])},
            {"rng": torch.zeros(7, dtype=torch.uint8)},
            {"x": torch.zeros(5, 3, dtype=torch.int64)},
            {"more": torch.zeros(1)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_forged_commit_is_damaged(self, change, tmp_path):
        run(run_dir=tmp_path, temperatures=[1.0])
        record = load_record(tmp_path / COMMIT)
        save_record(tmp_path / COMMIT, record.tensors | change, record.facts)
        with pytest.raises(StoreError, match="is damaged"):
            run(run_dir=tmp_path, temperatures=[1.0])


class CountingKernel:
    """Rows of each call; never moves. Its choice, if it makes one, is for all rows of a call."""

    move_names = ("count",)

    def __init__(self, shared):
        self.rows = []
        if shared:
            self.branches = [KERNEL, KERNEL]

    def init(self, x, energy):
        self.rows.append(len(x))
        return KERNEL.init(x, energy)

    def step(self, state, energy, rng, *, beta=1.0):
        return KERNEL.step(state, energy, rng, beta=beta)


@pytest.mark.parametrize(("shared", "rows"), [(False, [5, 15]), (True, [5, 5, 5, 5])])
def test_particles_of_a_chain_share_no_choice_of_a_mixture(shared, rows):
    """They would no longer be exchangeable: conditional SMC takes them to move independently."""
    counting = CountingKernel(shared)
    kernel = ConditionalSMC(q(), counting, num_particles=4, temperatures=[0.5, 1.0])
    state = kernel.init(TARGET.states[TARGET.energies.argsort()[:5]], TARGET.energy)
    kernel.step(state, TARGET.energy, generator(0))
    assert counting.rows == rows


def test_locked_states_only():
    """A distribution on the states that hold a lock, under a constraint to them."""
    states = enumerate_states(3, 3)
    held = (states == 1).any(dim=1)
    target = Enumerated(states, lambda x: random_energy(x).masked_fill(~(x == 1).any(dim=1), math.inf))
    law = held.double() / held.sum()
    ratios = run(
        energy=target.energy,
        distribution=q(law, target),
        num_particles=8,
        populations=200,
        temperatures=[0.4, 1.0],
        min_ancestors=1,
    ).log_z - (-target.energies).logsumexp(dim=0)
    assert abs(ratios.exp().mean() - 1) < 4 * ratios.exp().std() / math.sqrt(200)


def random_energy(x):
    return (x.double() * torch.tensor([0.7, -0.4, 1.1])).sum(dim=1) + 0.5 * (x[:, 0] * x[:, 2])
