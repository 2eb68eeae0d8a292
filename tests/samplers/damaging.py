"""Small runs that crashed, whose folders tests can damage, and what becomes of them when they go on."""

import os
import shutil
import warnings
from functools import cache

import pytest
import torch
from hypothesis import strategies as st

from samplers import McmcTextError, MetropolisHastings, RunStore, Tempered, anneal, linear, sample
from tests.samplers.doubles import KERNELS, Replace, starts, tilt
from tests.samplers.resuming import signature

__all__ = ["EVERY", "KINDS", "copied", "damage", "damages", "files", "interrupted", "kept", "outcome", "whole"]

STEPS, DONE, EVERY = 7, 5, 2


class Indexed:
    """A proposal that, as models do, looks states up in a table."""

    move_names = ("indexed",)

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


_places = st.floats(0, 1, exclude_max=True)
_numbers = st.integers(0, 10**6)
_WRONG = [
    "null",
    "[]",
    "3",
    '"text"',
    "{}",
    '{"seed": [1]}',
    '{"kernel": {}}',
    '{"kernel": null, "seed": {"a": 1}}',
    "NaN",
]
damages = st.one_of(
    st.tuples(st.just("flip"), _numbers, _places, st.integers(1, 255)),
    st.tuples(st.just("cut"), _numbers, _places),
    st.tuples(st.just("grow"), _numbers, st.sampled_from([1, 10**6, 2**33])),
    st.tuples(st.just("fill"), _numbers, st.binary(max_size=64)),
    st.tuples(st.just("json"), _numbers, st.sampled_from(_WRONG)),
    st.tuples(st.just("delete"), _numbers),
    st.tuples(st.just("swap"), _numbers, _numbers),
    st.tuples(st.just("folder"), _numbers),
    st.tuples(st.just("link"), _numbers, _numbers),
)


def damage(folder, operation, number, *rest):
    """Do one of ``damages`` to a file of the folder."""
    names = files(folder)
    path = folder / names[number % len(names)]
    size = path.stat().st_size
    if operation == "flip" and size:
        with path.open("r+b") as file:
            file.seek(int(rest[0] * size))
            old = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([old ^ rest[1]]))
    elif operation == "cut":
        os.truncate(path, int(rest[0] * size))
    elif operation == "grow":
        os.truncate(path, size + rest[0])
    elif operation == "fill":
        path.write_bytes(rest[0])
    elif operation == "json":
        path.write_text(rest[0])
    elif operation in ("delete", "folder"):
        path.unlink()
        if operation == "folder":
            path.mkdir()
    elif operation in ("swap", "link"):
        other = folder / names[rest[0] % len(names)]
        if other != path:
            path.rename(folder / "aside")
            other.rename(path) if operation == "swap" else path.symlink_to(other)
            (folder / "aside").rename(other) if operation == "swap" else (folder / "aside").unlink()
