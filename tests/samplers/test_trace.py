"""The record of a run, and its export."""

import math

import numpy as np
import pytest
import torch

from samplers import MetropolisHastings, Mixture, MoveCount, diagnose, named, sample
from samplers.run.trace import TraceBuilder
from samplers.types import ChainState, StepInfo
from tests.samplers.doubles import Replace, climb, stand, starts, tilt


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
