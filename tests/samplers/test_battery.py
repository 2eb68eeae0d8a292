"""The statistical battery: every test on every kernel, every mutant rejected, and the gates themselves."""

from __future__ import annotations

import math

import pytest
import torch

import samplers
from samplers import Cycle, Gibbs, MetropolisHastings, Mixture, PseudoGibbs, Tempered
from samplers.errors import InvalidInput
from samplers.randomness import generator
from samplers.testing import (
    CASES,
    MUTANTS,
    BatteryFailed,
    Case,
    Enumerated,
    InvalidTest,
    Mutant,
    SiteProposal,
    TabularProposal,
    battery,
    check_proposal,
    dirichlet_table,
    enumerate_states,
    gates,
    invariance_error,
    is_primitive,
    kl_gate,
    kl_statistic,
    pair_statistic,
    pool,
    random_target,
    row_result,
    spectral_gap,
    stationary_law,
    transition_matrix,
)
from samplers.testing.kernel_checks import TESTS

NIGHTLY_DRAWS = 2**20


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_passes(case: Case):
    """One test for all of a case: some look at the same run."""
    failed = [result for test in TESTS for result in battery.judge(case, test) if not result.passed]
    assert not failed


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.case.name)
def test_mutant_is_rejected(mutant: Mutant):
    missed = [result for result in battery.rejections(mutant).values() if result.passed]
    assert not missed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("test", ["T1", "T3", "T4", "T4b", "T5"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_passes_with_a_million_draws(case: Case, test: str):
    failed = [result for result in battery.judge(case, test, seed=1, draws=NIGHTLY_DRAWS) if not result.passed]
    assert not failed


class TestGates:
    @pytest.mark.parametrize(("cells", "gate"), [(16, 55.3), (27, 73.9), (64, 128.8), (81, 152.2), (256, 372.1)])
    def test_table_is_reproduced(self, cells: int, gate: float):
        assert round(kl_gate(cells), 1) == gate

    def test_true_law_stays_far_below(self):
        law = random_target(4, 3, seed=1953210663).probabilities()
        rng = generator(0)
        seen = [torch.multinomial(law, 2**16, replacement=True, generator=rng) for _ in range(100)]
        worst = max(row_result("T3", "", draws, law).statistic for draws in seen)
        assert worst < 60  # 400 seeds gave 54.8 at most; half the free cells is the mean

    @pytest.mark.parametrize(("distance", "rejected"), [(0.067, True), (0.01, False)])
    def test_power_is_as_tabled(self, distance: float, rejected: bool):
        law = random_target(4, 3, seed=1953210663).probabilities()
        sign = torch.ones(64, dtype=torch.float64)
        sign[::2] = -1
        sign -= (law * sign).sum()
        tilt = sign / (law * sign**2).sum().sqrt()
        tilted = law * (1 + distance * tilt)  # chi-distance to the law: distance
        draws = torch.multinomial(tilted, 2**16, replacement=True, generator=generator(1))
        assert row_result("T3", "", draws, law).passed is not rejected

    def test_too_few_draws_are_no_test(self):
        with pytest.raises(InvalidTest, match="smallest expected count is 10"):
            kl_statistic(torch.tensor([90, 10]), torch.tensor([0.9, 0.1], dtype=torch.float64))

    def test_impossible_cell_is_infinitely_wrong(self):
        assert kl_statistic(torch.tensor([99, 1]), torch.tensor([1.0, 0.0], dtype=torch.float64)) == math.inf

    def test_pool_leaves_no_rare_cell(self):
        law = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.01, 0.0], dtype=torch.float64)
        counts, pooled = pool(torch.tensor([50, 30, 14, 5, 1, 0]), law)
        assert counts.sum() == 100
        assert (pooled[pooled > 0] * 100).min() >= gates.MIN_EXPECTED
        assert 0.0 in pooled

    def test_pair_test_is_the_exact_binomial(self):
        # 9 or 1 heads of 10: 2 * (10 + 1) / 1024
        assert pair_statistic(torch.tensor([[0, 9], [1, 0]])) == pytest.approx(-math.log(22 / 1024))
        assert pair_statistic(torch.tensor([[5, 7], [7, 5]])) == 0.0


class TestIncompatibleConditionals:
    """Goyal et al. 2021: ``p(x1|x2)`` copies with 0.99, ``p(x2|x1)`` tosses a coin. States aa, ab, ba, bb."""

    SPACE = Enumerated(enumerate_states(2, 2), lambda x: torch.zeros(len(x), dtype=torch.float64))
    FIRST = torch.tensor([[0.99, 0, 0.01, 0], [0, 0.01, 0, 0.99], [0.99, 0, 0.01, 0], [0, 0.01, 0, 0.99]]).double()
    SECOND = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]).double()

    def kernel(self, table: torch.Tensor) -> PseudoGibbs:
        return PseudoGibbs(TabularProposal(self.SPACE, table))

    def law_of(self, kernel: object) -> list[float]:
        return stationary_law(transition_matrix(kernel, self.SPACE)).tolist()

    def test_law_depends_on_scan_and_on_when_it_is_read(self):
        first, second = self.kernel(self.FIRST), self.kernel(self.SECOND)
        assert self.law_of(Cycle([first, second])) == pytest.approx([0.25, 0.25, 0.25, 0.25])
        assert self.law_of(Cycle([second, first])) == pytest.approx([0.495, 0.005, 0.005, 0.495])
        random_scan = self.law_of(Mixture([(first, 0.5), (second, 0.5)]))
        assert random_scan == pytest.approx([0.3725, 0.1275, 0.1275, 0.3725])

    def test_no_law_is_left_alone_by_both(self):
        law = stationary_law((self.FIRST + self.SECOND) / 2)
        assert invariance_error(self.FIRST, law) > 0.1


class TestMatrices:
    def test_mixture_draws_its_parts_with_their_weights(self):
        table = dirichlet_table(8, 8, seed=1)
        target = random_target(2, 3, seed=1134066760)
        parts = [MetropolisHastings(TabularProposal(target, table, kind)) for kind in ("a", "b", "c")]
        weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        kernel = Mixture(list(zip(parts, weights.tolist(), strict=True)))
        state, rng, drawn = kernel.init(target.states[:1], target.energy), generator(0), []
        for _ in range(1000):
            state, info = kernel.step(state, target.energy, rng)
            drawn.append(info.move)
        assert row_result("T4b", "", torch.cat(drawn), weights).passed

    def test_periodic_chain_is_not_primitive(self):
        swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
        assert not is_primitive(swap)
        assert spectral_gap(swap) == pytest.approx(0.0)

    def test_unknown_kernel_is_refused(self):
        with pytest.raises(InvalidInput, match="no exact matrix is known for object"):
            transition_matrix(object(), random_target(2, 2, seed=1))

    def test_nested_ladders_are_refused(self):
        nested = Tempered(Tempered(Gibbs(2), [1.0, 0.5]), [1.0, 0.5])
        with pytest.raises(InvalidInput, match="Tempered inside a Tempered"):
            transition_matrix(nested, random_target(2, 2, seed=1))


class TestEnumerated:
    def test_every_state_finds_itself(self):
        states = torch.tensor([[7, -1], [3, 3], [3, 7], [-1, 3]])
        space = Enumerated(states, lambda x: x.sum(dim=1).double())
        assert space.index(states.flip(0)).tolist() == [3, 2, 1, 0]
        assert space.energy(states).tolist() == [6.0, 6.0, 10.0, 2.0]

    @pytest.mark.parametrize("state", [[3, -1], [4, 3], [100, 3], [-100, 3]])
    def test_unlisted_state_is_named(self, state: list[int]):
        space = Enumerated(torch.tensor([[7, -1], [3, 3]]), lambda x: x.sum(dim=1).double())
        with pytest.raises(InvalidInput, match=rf"\[{state[0]}, {state[1]}\] is not one of the 2 listed"):
            space.index(torch.tensor([[3, 3], state]))

    def test_repeated_state_is_refused(self):
        with pytest.raises(InvalidInput, match="listed twice"):
            Enumerated(torch.tensor([[1, 1], [1, 1]]), lambda x: x.sum(dim=1).double())

    def test_forbidden_states_have_no_probability_at_any_beta(self):
        target = random_target(3, 3, seed=2004911389, forbidden=5)
        for beta in (1.0, 0.3, 0.0):
            law = target.probabilities(beta)
            assert (law == 0).sum() == 5
            assert float(law.sum()) == pytest.approx(1.0)


def test_every_exported_kernel_has_a_case():
    exported = {value for value in vars(samplers).values() if isinstance(value, type) and hasattr(value, "step")}
    exported.discard(samplers.Kernel)
    assert len(exported) >= 7
    assert exported <= {type(case.kernel) for case in CASES}


def test_unlisted_draw_fails_the_proposal():
    states = enumerate_states(3, 2)
    proposal = SiteProposal(dirichlet_table(2, 3, 3, seed=1))
    with pytest.raises(BatteryFailed) as caught:
        check_proposal(proposal, states[:-1], draws=2**12)
    assert {"T1a", "T1b"} <= {result.test for result in caught.value.report.failures}


class TestReport:
    def test_table_and_exit_code(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(battery, "CASES", CASES[13:14])
        monkeypatch.setattr(battery, "MUTANTS", MUTANTS[-1:])
        assert battery.main([]) == 0
        out = capsys.readouterr().out
        assert "1 of 1 kernels pass, 1 of 1 mutants are rejected" in out

    def test_failure_is_told(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        monkeypatch.setattr(battery, "CASES", ())
        monkeypatch.setattr(battery, "MUTANTS", (Mutant(CASES[13], ("T2",)),))
        assert battery.main([]) == 1
        assert "MISSED" in capsys.readouterr().out
