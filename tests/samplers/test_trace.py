"""Diagnostics against theory, the record of a run, and its export."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from samplers import MetropolisHastings, Mixture, MoveCount, named, sample
from samplers.run.trace import TraceBuilder, diagnose
from samplers.types import ChainState, StepInfo
from tests.samplers.doubles import Replace, climb, stand, starts, tilt


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


def test_chains_that_each_stand_still_are_no_error():
    found = diagnose(torch.tensor([[0.0], [1.0]]).expand(2, 50))
    assert found.mean == 0.5
    assert not found.r_hat < 1.1


def run(steps=40):
    energy = named("tilt", tilt) + 2.0 * named("length", lambda x: (x > 0).sum(dim=1))
    return sample(MetropolisHastings(Replace()), energy, starts(3), steps=steps, warmup=10, seed=7)


def test_diagnostics_are_of_the_energy_and_of_named_scalars():
    trace = run(400)
    found = trace.diagnostics({"first": trace.draws[:, :, 0]})
    assert list(found) == ["energy", "first"]
    assert found["energy"] == diagnose(trace.energy)
    assert found["first"] == diagnose(trace.draws[:, :, 0])
    assert found["first"].mean == pytest.approx(float(trace.draws[:, :, 0].double().mean()))


def test_the_export_has_the_groups_and_shapes_of_arviz():
    trace = run()
    tree = trace.to_arviz({"first": trace.draws[:, :, 0]})
    assert set(tree.children) == {"posterior", "sample_stats"}
    assert dict(tree["posterior"].sizes) == {"chain": 3, "draw": 30, "x_dim_0": 4}
    assert set(tree["posterior"].data_vars) == {"x", "first"}
    assert set(tree["sample_stats"].data_vars) == {"energy", "term: tilt", "term: length"}
    assert all(v.dims == ("chain", "draw") for v in tree["sample_stats"].data_vars.values())
    np.testing.assert_array_equal(tree["posterior"]["x"], trace.draws)
    np.testing.assert_array_equal(tree["posterior"]["first"], trace.draws[:, :, 0])
    np.testing.assert_array_equal(tree["sample_stats"]["energy"], trace.energy)
    np.testing.assert_array_equal(tree["sample_stats"]["term: length"], trace.terms[:, :, 1])


def test_acceptance_and_changed_are_over_all_kinds():
    trace = sample(Mixture([(climb(), 0.5), (stand(), 0.5)]), lambda x: 0.0 * x[:, 0], torch.zeros(2, 1), steps=40)
    up = trace.moves["shift"]
    assert 0 < up.tried < 80
    assert trace.acceptance == trace.changed == up.accepted / 80


def test_a_builder_counts_each_kind_and_keeps_copies():
    yes, no = torch.tensor([True, True]), torch.tensor([True, False])
    x = torch.tensor([[1], [2]])
    builder = TraceBuilder(("a", "b"), x, terms=1, warmup=1, thin=1)
    state = ChainState(x, torch.tensor([0.5, 1.5]), {}, torch.tensor([[0.5], [1.5]]))
    for step, kind in enumerate(([0, 0], [0, 1], [1, 1])):
        builder.record(step, state, StepInfo(yes, no, torch.tensor(kind)))
        x += 10
    trace = builder.finish(("e",), state, builder.take_rows())
    assert trace.moves == {"a": MoveCount(1, 1, 1), "b": MoveCount(3, 3, 1)}
    assert trace.draws[:, :, 0].tolist() == [[11, 21], [12, 22]]
    assert trace.energy.tolist() == [[0.5, 0.5], [1.5, 1.5]]
    assert trace.steps.tolist() == [1, 2]


def test_a_trace_says_what_it_was_made_with():
    trace = run()
    assert trace.seed == 7
    assert trace.versions["torch"] == torch.__version__
    assert set(trace.versions) == {"python", "torch", "numpy"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_trace_on_cuda_is_diagnosed_and_exported():
    trace = sample(MetropolisHastings(Replace()), tilt, starts(3).cuda(), steps=40)
    assert trace.draws.is_cuda
    assert math.isfinite(trace.diagnostics()["energy"].r_hat)
    assert trace.to_arviz()["posterior"]["x"].shape == (3, 40, 4)


def test_a_single_chain_is_judged_by_its_halves():
    rng = torch.Generator().manual_seed(0)
    steady = torch.randn(1, 400, dtype=torch.float64, generator=rng)
    drifting = steady + torch.linspace(0, 5, 400, dtype=torch.float64)
    assert diagnose(steady).r_hat < 1.02
    assert 300 < diagnose(steady).ess_bulk < 500
    assert diagnose(drifting).r_hat > 1.5
