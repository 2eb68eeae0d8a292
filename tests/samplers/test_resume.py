"""``run(N) == run(a) + resume``, byte for byte, for every kernel and composition, and what may differ in between."""

import json
import os
import random
import subprocess
import sys
import warnings
from functools import cache

import numpy as np
import pytest
import torch

from samplers import InvalidInput, anneal, linear, sample
from tests.samplers.doubles import KERNELS, climb, starts, tilt
from tests.samplers.resuming import RUNS, SHARD, folder_rows, interrupted, kept_in, signature

runs = pytest.mark.parametrize("name", RUNS)
sampled = pytest.mark.parametrize("name", [name for name in RUNS if not name.startswith("anneal")])
KEPT = {"warmup": 4, "thin": 2}


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch):
    """No power fails here, and waiting for the disk is most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@cache
def whole(name, **options):
    return signature(RUNS[name](**options))


@sampled
@pytest.mark.parametrize("a", [1, 9])
def test_a_run_that_is_extended_is_the_long_run(name, a, tmp_path):
    assert signature(kept_in(RUNS[name], tmp_path, steps=a)) != whole(name)
    assert signature(kept_in(RUNS[name], tmp_path)) == whole(name)


@runs
@pytest.mark.parametrize("a", [3, 7])
def test_a_run_that_was_stopped_is_the_run_that_was_not(name, a, tmp_path):
    options = {} if name.startswith("anneal") else KEPT
    assert signature(interrupted(RUNS[name], tmp_path, at=a, **options)) == whole(name, **options)
    assert signature(kept_in(RUNS[name], tmp_path, **options)) == whole(name, **options), "read again when all is done"


def process(folder, *, threads, seed, at=None):
    arguments = [str(folder), str(threads), *([] if at is None else [str(at)])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.samplers.resuming", *arguments],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
    )


def test_a_run_goes_on_in_another_process_with_other_threads_and_hash_seed(tmp_path):
    """Each shard is stopped in its own process, so each is begun, gone on with and ended in another."""
    for threads, seed, at in ((1, "1", 4), (2, "2", 4), (2, "random", None)):
        child = process(tmp_path, threads=threads, seed=seed, at=at)
        out, _ = child.communicate(timeout=250)
        assert child.returncode == 0
        ended = json.loads(out)
        assert list(ended) == ([] if at else list(RUNS))
    assert ended == {name: whole(name) for name in RUNS}


@pytest.mark.parametrize("name", ["MH site 4^3", "Tempered 3, every 2", "anneal gibbs random", "walk"])
def test_commits_may_be_spaced_otherwise(name, tmp_path):
    results = []
    for every, other in ((1, 1), (2, 5), (100, 1), (4, 3)):
        folder = tmp_path / f"{every}-{other}"
        interrupted(RUNS[name], folder, at=5, every=every)
        results.append(
            (signature(kept_in(RUNS[name], folder, every=other)), folder_rows(folder), folder_rows(folder, 1))
        )
    assert results == [results[0]] * 4
    assert results[0][0] == whole(name)


@pytest.mark.parametrize("name", ["Gibbs random 4^3", "mixture with tempered", "anneal cycle"])
def test_shards_may_be_run_apart_and_in_any_order(name, tmp_path):
    run = RUNS[name]
    parts = [kept_in(run, tmp_path, shards=[shard]) for shard in (1, 0)]
    assert [len(part.energy) for part in parts] == [2, SHARD]
    assert signature(kept_in(run, tmp_path)) == whole(name)
    assert signature(run(shards=[0, 1])) == whole(name)


def test_a_folder_by_name_keeps_itself_and_a_finished_run_takes_no_step(tmp_path):
    steps = []
    for _ in range(2):
        trace = sample(
            KERNELS["cycle"](),
            tilt,
            starts(4),
            steps=9,
            run_dir=tmp_path / "new" / "run",
            observers=[lambda step, *_: steps.append(step)],
        )
    assert steps == list(range(9))
    assert signature(trace) == signature(sample(KERNELS["cycle"](), tilt, starts(4), steps=9))
    names = {path.name for path in (tmp_path / "new" / "run").iterdir()}
    assert names == {"env.json", "fingerprint.json", "lock", "mcmc-text.json", "shards"}


def test_observers_see_the_steps_that_are_done_now(tmp_path):
    seen = []
    sample(climb(), tilt, starts(4), steps=4, run_dir=tmp_path)
    sample(climb(), tilt, starts(4), steps=6, run_dir=tmp_path, observers=[lambda step, *_: seen.append(step)])
    assert seen == [4, 5]


CALL = {"kernel": KERNELS["metropolis"], "energy": tilt, "x0": starts(4), "steps": 6, "thin": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "fingerprint.json': seed was 0 and is now 1; give the stored value, or another folder"),
        ({"thin": 1}, "thin was 2 and is now 1"),
        ({"warmup": 2}, "warmup was 0 and is now 2"),
        ({"shard_size": 2}, "shard_size was 256 and is now 2"),
        ({"x0": starts(5)}, "chains was 4 and is now 5"),
        ({"x0": starts(4).flip(0)}, "start was .* and is now "),
        ({"x0": starts(4).int()}, "start was .* and is now "),
        (
            {"kernel": KERNELS["gibbs random"]},
            'kernel.class was ".*:MetropolisHastings" and is now ".*:Gibbs"',
        ),
        ({"kernel": lambda: KERNELS["cycle"]().parts[1]}, None),
        (
            {"energy": lambda x: tilt(x)},
            'energy.function was ".*doubles:tilt" and is now ".*test_resume:<lambda>"',
        ),
        ({"steps": 4}, "steps is 4, but 6 are done in .*/shards/00000'; give at least that many"),
    ],
)
def test_a_folder_is_for_one_run(change, message, tmp_path):
    def call(**changes):
        arguments = CALL | changes
        return sample(arguments.pop("kernel")(), arguments.pop("energy"), arguments.pop("x0"), **arguments)

    first = signature(call(run_dir=tmp_path))
    if message:
        with pytest.raises(InvalidInput, match=message):
            call(run_dir=tmp_path, **change)
    assert signature(call(run_dir=tmp_path)) == first


def test_sampling_and_annealing_do_not_go_on_with_each_other(tmp_path):
    sample(climb(), tilt, starts(4), steps=6, run_dir=tmp_path)
    with pytest.raises(InvalidInput, match="betas was null and is now"):
        anneal(climb(), tilt, starts(4), schedule=linear(1.0, 1.0), steps=6, run_dir=tmp_path)


@pytest.mark.parametrize("change", [{"steps": 8}, {"schedule": linear(3.0, 0.0)}])
def test_other_temperatures_are_another_run(change, tmp_path):
    arguments = {"schedule": linear(2.0, 0.0), "steps": 6, "run_dir": tmp_path}
    anneal(climb(), tilt, starts(4), **arguments)
    with pytest.raises(InvalidInput, match="betas was "):
        anneal(climb(), tilt, starts(4), **arguments | change)


def test_an_energy_that_gives_other_values_than_it_did_is_told(tmp_path):
    weight = [1.0]

    class Drifting:
        transient = ("weight",)

        def __init__(self, weight):
            self.weight = weight

        def __call__(self, x):
            return self.weight[0] * tilt(x)

    drifting = Drifting(weight)
    sample(climb(), drifting, starts(4), steps=6, run_dir=tmp_path)
    weight[0] = 1 + 1e-5
    sample(climb(), drifting, starts(4), steps=7, run_dir=tmp_path)
    weight[0] = 1.5
    sample(climb(), drifting, starts(4), steps=7, run_dir=tmp_path)  # all done: nothing is compared
    with pytest.warns(UserWarning, match=r"energies differ by up to \d+(\.\d+)? nats .*before the run stopped"):
        sample(climb(), drifting, starts(4), steps=8, run_dir=tmp_path)


def global_states():
    return [torch.get_rng_state().tolist(), random.getstate(), [part.tolist() for part in np.random.get_state()[1:2]]]


@pytest.mark.parametrize("name", ["Mixture of Tempered, MH", "walk", "anneal cycle"])
def test_global_random_state_is_neither_read_nor_written(name, tmp_path):
    saved = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        for seed in (1, 2):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            before = global_states()
            assert signature(interrupted(RUNS[name], tmp_path / str(seed), at=4)) == whole(name)
            assert global_states() == before
    finally:
        torch.set_rng_state(saved[0])
        random.setstate(saved[1])
        np.random.set_state(saved[2])


@pytest.mark.parametrize("action", ["always", "error"])
def test_an_observer_that_raises_changes_nothing_in_the_folder(action, tmp_path):
    def broken(step, state, info):
        raise RuntimeError("no disk")

    with warnings.catch_warnings(record=True):
        warnings.simplefilter(action)
        trace = kept_in(RUNS["walk"], tmp_path, observers=[broken])
    assert trace.observer_failures == 22
    assert signature(trace) == whole("walk") == signature(kept_in(RUNS["walk"], tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["tempered", "mixture with tempered", "gibbs systematic"])
def test_on_cuda_too(name, tmp_path):
    call = {"kernel": KERNELS[name](), "energy": tilt, "x0": starts(5).cuda(), "steps": 11, "shard_size": 3}
    alone = sample(**call)
    sample(**call | {"steps": 4}, run_dir=tmp_path)
    resumed = sample(**call, run_dir=tmp_path)
    assert resumed.draws.is_cuda
    assert resumed.final[0].x.is_cuda
    assert signature(resumed) == signature(alone)
    best = [
        anneal(**call, schedule=linear(2.0, 0.0), run_dir=folder) for folder in (None, tmp_path / "a", tmp_path / "a")
    ]
    assert all(signature(found) == signature(best[0]) for found in best)
    with pytest.raises(InvalidInput, match='device was "cuda" and is now "cpu"'):
        sample(**call | {"x0": starts(5)}, run_dir=tmp_path)
