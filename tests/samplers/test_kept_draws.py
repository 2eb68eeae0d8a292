"""Rejection and importance sampling in a folder: stopped at any batch they end in the draws of the run left alone."""

import math
import os
import re
import shutil
import signal

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from samplers import (
    CallCounter,
    Interrupted,
    InvalidInput,
    RunStore,
    StoreError,
    TrialsExhausted,
    importance_sample,
    rejection_sample,
)
from samplers.storage.tensor_file import load_record, save_record
from tests.samplers.doubles import Watched
from tests.samplers.resuming import signature

COMMIT = "shards/00000/commit.safetensors"


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def table(x):
    return torch.tensor([0.1, 0.5, 1.5, 9.0], dtype=torch.float64)[x]


def bowl(x):
    return 2 * x.square().sum(dim=1)


def uniform():
    return Categorical(probs=torch.full((4,), 0.25, dtype=torch.float64))


def plane():
    return Independent(Normal(torch.zeros(3, dtype=torch.float64), 1.0), 1)


BOUND = 1.5 * math.log(2 * math.pi)
RUNS = {
    "rejection": lambda **o: rejection_sample(
        o.pop("energy", Watched(table)), uniform(), log_bound=math.log(4), num_samples=40, batch_size=9, seed=3, **o
    ),
    "rejection, plane": lambda **o: rejection_sample(
        o.pop("energy", Watched(bowl)), plane(), log_bound=BOUND, num_samples=11, batch_size=7, **o
    ),
    "rejection, few": lambda **o: rejection_sample(
        o.pop("energy", Watched(bowl)), plane(), log_bound=BOUND + 0.5, num_samples=2, batch_size=1, seed=1, **o
    ),
    "importance": lambda **o: importance_sample(
        o.pop("energy", Watched(table)), uniform(), num_samples=50, batch_size=12, **o
    ),
    "importance, plane": lambda **o: importance_sample(
        o.pop("energy", Watched(bowl)), plane(), num_samples=40, batch_size=9, **o
    ),
}
runs = pytest.mark.parametrize("name", RUNS)


def plain(name):
    return bowl if name.endswith(("plane", "few")) else table


class Crash(BaseException):
    pass


def failing_at(energy, call):
    """``energy``, which crashes at that call."""
    calls = iter(range(call))

    def crash():
        if next(calls, None) is None:
            raise Crash

    return Watched(energy, crash)


def batches(name):
    counter = CallCounter(plain(name))
    RUNS[name](energy=counter)
    return counter.calls


def everything(result):
    return signature(result) | {name: value for name, value in vars(result).items() if not torch.is_tensor(value)}


@runs
def test_a_run_that_crashed_at_any_batch_ends_in_the_same_draws(name, tmp_path):
    whole = everything(RUNS[name]())
    assert batches(name) > 4
    for call in range(batches(name)):
        folder = tmp_path / str(call)
        with pytest.raises(Crash):
            RUNS[name](energy=failing_at(plain(name), call), run_dir=folder)
        assert everything(RUNS[name](run_dir=folder)) == whole
        assert everything(RUNS[name](energy=failing_at(plain(name), 0), run_dir=folder)) == whole, "read again"


@runs
def test_so_does_one_that_crashed_at_every_batch(name, tmp_path):
    crashes = 0
    while True:
        try:
            result = RUNS[name](energy=failing_at(plain(name), 1), run_dir=tmp_path)
            break
        except Crash:
            crashes += 1
    assert everything(result) == everything(RUNS[name]())
    assert crashes == batches(name) - 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@runs
def test_a_signal_lets_the_batch_end_and_keeps_it(name, number, tmp_path):
    interrupting = Watched(plain(name), lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="kept in") as stopped:
        RUNS[name](energy=interrupting, run_dir=tmp_path)
    assert stopped.value.signal == number
    assert stopped.value.done == load_record(tmp_path / COMMIT).facts["done"] > 0
    assert signal.getsignal(number) == before
    assert everything(RUNS[name](run_dir=tmp_path)) == everything(RUNS[name]())


def test_trials_that_ran_out_are_out_again(tmp_path):
    call = {"log_bound": BOUND + 5, "num_samples": 30, "max_trials": 50, "batch_size": 8}
    results = []
    for folder in (None, tmp_path, tmp_path):
        with pytest.raises(TrialsExhausted, match="50 trials gave") as out:
            rejection_sample(bowl, plane(), run_dir=folder, **call)
        results.append(everything(out.value.result))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed was 3 and is now 4"),
        ({"num_samples": 41}, "num_samples was 40 and is now 41"),
        ({"batch_size": 8}, "batch_size was 9 and is now 8"),
        ({"log_bound": 2.0}, "log_bound was .* and is now 2.0"),
        ({"max_trials": 10**6}, "max_trials was 10000000 and is now 1000000"),
        ({"energy": bowl}, 'energy.function was ".*:table" and is now ".*:bowl"'),
    ],
)
def test_a_folder_is_for_one_run(change, message, tmp_path):
    call = {"energy": table, "log_bound": math.log(4), "num_samples": 40, "batch_size": 9, "seed": 3}
    rejection_sample(call["energy"], uniform(), run_dir=tmp_path, **{k: v for k, v in call.items() if k != "energy"})
    call |= change
    with pytest.raises(InvalidInput, match=message):
        rejection_sample(call.pop("energy"), uniform(), run_dir=tmp_path, **call)
    with pytest.raises(InvalidInput, match='sampler was "rejection" and is now "importance"'):
        importance_sample(table, uniform(), num_samples=5, run_dir=tmp_path)


def begun(name, folder):
    with pytest.raises(Crash):
        RUNS[name](energy=failing_at(plain(name), 3), run_dir=folder)
    return folder


class Draws:
    """Numbers of a type that nobody can see from outside."""

    transient = ("_dtype",)

    def __init__(self, dtype):
        self._dtype = dtype

    def sample(self, shape):
        return torch.zeros(shape, dtype=self._dtype)

    def log_prob(self, x):
        return torch.zeros(len(x), dtype=torch.float64)


def test_a_proposal_that_draws_something_else_than_it_did_is_told(tmp_path):
    call = {"num_samples": 10, "batch_size": 3, "run_dir": tmp_path}
    with pytest.raises(Crash):
        importance_sample(failing_at(table, 2), Draws(torch.int64), **call)
    with pytest.raises(InvalidInput, match=r"draws torch.int32 \[\] on cpu, and earlier torch.int64 \[\] on cpu"):
        importance_sample(Watched(table), Draws(torch.int32), **call)


def test_what_is_forged_or_cut_is_told_and_never_another_error(tmp_path):
    rng = load_record(begun("importance", tmp_path / "made") / COMMIT).tensors["rng"]
    forged = [
        {"tensors": {"rng": rng[:-1]}},
        {"tensors": {"rng": None}},
        {"tensors": {"nothing/x": None}},
        {"tensors": {"nothing/other": torch.zeros(0)}},
        {"tensors": {"nothing/energy": torch.zeros(0)}},
        {"tensors": {"nothing/energy": torch.zeros(0, 2, dtype=torch.float64)}},
        {"tensors": {"nothing/x": torch.zeros(0, 2, dtype=torch.int64)}},
        *({"facts": {"device": device}} for device in (None, "meta", "cuda:99", "nonsense\x1b", 7, [], "x" * 10**5)),
        *({"facts": {"done": done}} for done in (-1, None, "3")),
        {"facts": {"rows_to": 10**12}},
        {"facts": {"of": "another"}},
    ]
    for case in forged:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "made", tmp_path / "run")
        path = tmp_path / "run" / COMMIT
        record = load_record(path)
        tensors = {n: t for n, t in {**record.tensors, **case.get("tensors", {})}.items() if t is not None}
        facts = {n: f for n, f in {**record.facts, **case.get("facts", {})}.items() if f is not None}
        save_record(path, tensors, facts)
        with pytest.raises((StoreError, InvalidInput), match=re.escape(str(tmp_path / "run" / "shards"))) as told:
            RUNS["importance"](run_dir=tmp_path / "run")
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 500
    for path in sorted((tmp_path / "made" / "shards" / "00000").iterdir()):
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(tmp_path / "made", tmp_path / "run")
        os.truncate(tmp_path / "run" / path.relative_to(tmp_path / "made"), path.stat().st_size // 2)
        with pytest.raises(StoreError, match=path.name):
            RUNS["importance"](run_dir=tmp_path / "run")


def test_in_a_store_that_somebody_else_holds(tmp_path):
    with RunStore(tmp_path) as store:
        result = RUNS["importance"](run_dir=store)
        with pytest.raises(InvalidInput, match="in use by process"):
            RUNS["importance"](run_dir=tmp_path)
    assert everything(result) == everything(RUNS["importance"]())
