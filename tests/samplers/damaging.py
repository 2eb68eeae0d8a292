"""Small runs that crashed, whose folders tests can damage, and what becomes of them when they go on."""

import shutil
import warnings
from functools import cache

import pytest
import torch

from samplers import McmcTextError, MetropolisHastings, RunStore, Tempered, anneal, linear, sample
from tests.samplers.doubles import KERNELS, Replace, starts, tilt
from tests.samplers.resuming import signature

__all__ = ["EVERY", "KINDS", "copied", "files", "interrupted", "kept", "outcome", "whole"]

STEPS, DONE, EVERY = 7, 5, 2


class Indexed:
    """A proposal that, as models do, looks states up in a table."""

    kinds = ("indexed",)

    def __init__(self):
        self.inner = Replace()
        self.table = torch.zeros(3, dtype=torch.float64)

    def __call__(self, x, rng):
        return self.inner(x + self.table[x].long(), rng)

    def log_prob(self, x_to, x_from):
        return self.inner.log_prob(x_to, x_from)


KINDS = {
    "cycle": KERNELS["cycle"],
    "tempered": lambda: Tempered(MetropolisHastings(Indexed()), [1.0, 0.5]),
    "anneal": KERNELS["mixture"],
}


def run(kind, folder, *, steps=STEPS, **options):
    options = {"shard_size": 2, "seed": 9, "progress": False, "run_dir": folder, **options}
    if kind == "anneal":
        return anneal(KINDS[kind](), tilt, starts(4), schedule=linear(2.0, 1.0), steps=steps, **options)
    return sample(KINDS[kind](), tilt, starts(4), steps=steps, warmup=1, **options)


def kept(kind, folder, **options):
    with RunStore(folder, every=EVERY) as store:
        store.log("begun")
        store.pin("config.json", {"kind": kind})
        return run(kind, store, **options)


@cache
def whole(kind):
    return signature(run(kind, None))


class Crash(BaseException):
    pass


def interrupted(kind, folder):
    """A run that crashed after five of its seven steps in the second of its two shards."""
    calls = iter(range(STEPS + DONE))

    def crash(step, state, info):
        if next(calls, None) is None:
            raise Crash

    with pytest.raises(Crash):
        kept(kind, folder, observers=[crash])


def outcome(kind, folder):
    """What becomes of the run that goes on: an error of ours, or its signature."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # forged energies are warned of
            return signature(kept(kind, folder))
    except McmcTextError as error:
        assert str(error).isprintable(), repr(error)  # noqa: PT017
        return error


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def copied(folders, tmp_path, kind="cycle"):
    """To be damaged."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders[kind], folder)
    return folder
