"""What cannot mean anything is refused in one line, before anything is scored; what is merely odd is done."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from samplers import (
    CallCounter,
    Flat,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    RunStore,
    anneal,
    importance_sample,
    linear,
    rejection_sample,
    sample,
)
from tests.samplers.doubles import Replace, climb, starts, tilt


def table(x):
    return torch.tensor([0.1, 0.5, 1.5, 9.0], dtype=torch.float64)[x]


def uniform():
    return Categorical(probs=torch.full((4,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"steps": 1e4}, "steps is 10000.0; give a whole number"),
        ({"steps": "10"}, "steps is '10'; give a whole number"),
        ({"thin": 1.5}, "thin is 1.5; give a whole number"),
        ({"warmup": None}, "warmup is None; give a whole number"),
        ({"shard_size": 2.0}, "shard_size is 2.0; give a whole number"),
        ({"seed": 0.5}, "seed is 0.5; give a whole number, 0 or more"),
        ({"seed": -3}, "seed is -3; give a whole number, 0 or more"),
        ({"x0": [[0, 1]]}, "x0 is list; give a tensor"),
        ({"x0": torch.zeros(0, 4)}, r"x0 has shape \[0, 4\]"),
        ({"x0": torch.zeros(4, 0)}, r"x0 has shape \[4, 0\]"),
        ({"shards": [1]}, r"shards is \[1\]; give some of 0..0, each once"),
        ({"nan": "ignore"}, "nan is 'ignore'; choose 'raise' or 'reject'"),
    ],
)
@pytest.mark.parametrize("run", [sample, lambda *a, **o: anneal(*a, schedule=linear(1.0, 1.0), **o)])
def test_a_run_that_means_nothing_is_refused_before_anything_is_scored(run, bad, message, tmp_path):
    if run is not sample and bad.keys() & {"thin", "warmup"}:
        pytest.skip("annealing has neither")
    energy = CallCounter(Flat())
    options = {"steps": 10, "run_dir": tmp_path / "run", **bad}
    with pytest.raises(InvalidInput, match=message):
        run(climb(), energy, options.pop("x0", starts(4)), **options)
    assert energy.calls == 0
    assert not (tmp_path / "run" / ("shards" if "shards" in bad else "")).exists()


@pytest.mark.parametrize("every", [0, -1])
def test_commits_are_at_least_a_step_apart(every, tmp_path):
    with pytest.raises(InvalidInput, match=f"every is {every}; give at least 1 step"):
        RunStore(tmp_path, every=every)


def test_one_value_is_a_law_too():
    trace = sample(Gibbs(1), tilt, torch.zeros(1, 4, dtype=torch.int64), steps=3)
    assert trace.moves["gibbs"].accepted == 3
    assert trace.changed == 0
    trace = sample(MetropolisHastings(Replace(1)), tilt, torch.zeros(1, 1, dtype=torch.int64), steps=3)
    assert trace.acceptance == 1


def test_numbers_of_numpy_are_numbers(tmp_path):
    numbers = {
        "steps": np.int64(6),
        "warmup": np.int64(2),
        "thin": np.int8(2),
        "seed": np.int64(3),
        "shard_size": np.int64(2),
    }
    plain = {name: int(number) for name, number in numbers.items()}
    first = sample(MetropolisHastings(Replace()), tilt, starts(4), run_dir=tmp_path / "a", **numbers)
    again = sample(MetropolisHastings(Replace()), tilt, starts(4), run_dir=tmp_path / "a", **plain)
    assert torch.equal(first.draws, again.draws)
    count = {"num_samples": np.int64(7), "batch_size": np.int64(3), "seed": np.int64(1)}
    for run, options in ((importance_sample, {}), (rejection_sample, {"log_bound": np.float64(2.0)})):
        first = run(table, uniform(), run_dir=tmp_path / run.__name__, **count, **options)
        again = run(table, uniform(), run_dir=tmp_path / run.__name__, **count, **options)
        assert torch.equal(first.x, again.x)
