"""A run's folder is input of unknown origin: links, sizes and values are judged before anything else is done."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest
import torch

from samplers import InvalidInput, McmcTextError, RunStore, StoreError, sample
from samplers.storage.tensor_file import load_record, save_record
from tests.samplers.doubles import climb, starts, tilt

linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
CHUNK, COMMIT = Path("shards/00000/00000000.safetensors"), Path("shards/00000/commit.safetensors")


def run(folder, *, steps=6, is_state=None):
    with RunStore(folder, every=3, is_state=is_state, lazy=True) as store:
        return sample(climb(), tilt, starts(3), steps=steps, warmup=1, thin=2, run_dir=store, progress=False)


@pytest.fixture
def folder(tmp_path):
    run(tmp_path / "run", steps=4)
    return tmp_path / "run"


def test_nothing_is_written_before_the_first_step(tmp_path):
    def broken(x):
        raise ValueError("no")

    for path in (tmp_path / "new" / "below", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with RunStore(path, lazy=True) as store:
            store.log("begun")
            store.pin("config.json", {"a": 1})
            with pytest.raises(McmcTextError, match="no"):
                sample(climb(), broken, starts(3), steps=4, run_dir=store, progress=False)
        with pytest.raises(McmcTextError, match="no"):
            sample(climb(), broken, starts(3), steps=4, run_dir=path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_what_was_pinned_and_logged_before_is_written_then(tmp_path):
    with RunStore(tmp_path / "run", lazy=True) as store:
        store.log("begun")
        store.pin("config.json", {"a": 1})
        assert not (tmp_path / "run").exists()
        sample(climb(), tilt, starts(3), steps=4, run_dir=store, progress=False)
        assert store.read("config.json") == {"a": 1}
        with pytest.raises(InvalidInput, match="in use"):
            RunStore(tmp_path / "run").__enter__()
    assert json.loads((tmp_path / "run" / "events.jsonl").read_text()) == {"event": "begun"}


def test_of_two_that_begin_together_one_is_told(tmp_path):
    with RunStore(tmp_path / "run", lazy=True) as first, RunStore(tmp_path / "run", lazy=True) as second:
        first.make()
        with pytest.raises(InvalidInput, match=r"another process has begun a run in .* meanwhile"):
            second.make()


@pytest.mark.parametrize(("place", "told"), [
    ("file/below", "Not a directory"), ("dangling", "leads nowhere"), ("/proc/no/way", "cannot be written to"),
    ("n" * 300, "too long"),
])  # fmt: skip
def test_a_folder_that_cannot_be_made_is_known_at_once(tmp_path, place, told):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("gone")
    with pytest.raises(InvalidInput, match=told):
        RunStore(tmp_path / place, lazy=True).__enter__()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dangling"}


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "run").symlink_to("data")
    run(tmp_path / "run")
    assert (tmp_path / "data" / COMMIT).exists()


def read_all(folder, name):
    run(folder)
    with RunStore(folder) as store:
        store.read(name)


@pytest.mark.parametrize("name", ["mcmc-text.json", "fingerprint.json", "env.json", str(CHUNK), str(COMMIT)])
@pytest.mark.parametrize("thing", ["link", "pipe"])
@linux
def test_links_and_pipes_are_refused_by_name(folder, tmp_path, name, thing):
    path = folder / name
    if not path.exists():
        with RunStore(folder) as store:
            store._write_json(name, {"versions": {}})
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere") if thing == "link" else os.mkfifo(path)
    with pytest.raises(StoreError, match="is a symbolic link" if thing == "link" else "is not a regular file"):
        read_all(folder, name)


@pytest.mark.parametrize("name", ["events.jsonl", "lock"])
def test_a_line_goes_to_no_other_file(folder, tmp_path, name):
    (tmp_path / "precious").write_text("precious\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).hardlink_to(tmp_path / "precious")
    with pytest.raises(McmcTextError, match="it is a hard link"), RunStore(folder) as store:
        store.log("begun")
    assert (tmp_path / "precious").read_text() == "precious\n"


@pytest.fixture
def little_memory():
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("path", [CHUNK, COMMIT])
@linux
def test_a_sparse_file_is_judged_by_its_header(folder, path, little_memory):
    os.truncate(folder / path, 2**31)
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)


@pytest.mark.parametrize("path", [CHUNK, COMMIT])
@linux
def test_a_header_that_asks_for_too_much_is_not_followed(folder, path, little_memory):
    """Consistent with the size of its file, though not with the steps and the chains."""
    data = (folder / path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    size = 2**31
    for name, entry in head.items():
        if name != "__metadata__":
            entry |= {"shape": [0, *entry["shape"][1:]], "data_offsets": [size, size]}
    name = "energy"
    head[name] |= {"dtype": "F64", "shape": [size // 8 // 3, 3], "data_offsets": [0, size // 24 * 24]}
    text = json.dumps(head).encode()
    (folder / path).write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(folder / path, 8 + len(text) + size // 24 * 24)
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)


def forge(path, **tensors):
    """With a right digest."""
    record = load_record(path)
    save_record(path, record.tensors | tensors, record.facts)


@pytest.mark.parametrize("path", [CHUNK, COMMIT])
def test_states_that_cannot_be_are_refused_whatever_the_digest_says(folder, path):
    name = "draws" if path == CHUNK else "x"
    forge(folder / path, **{name: load_record(folder / path).tensors[name] - 100})
    with pytest.raises(StoreError, match="holds values that are none of this run"):
        run(folder, is_state=lambda x: bool((x >= 0).all()))


@pytest.mark.parametrize("counts", [[[9**9], [0], [0]], [[3], [4], [0]], [[-1], [-1], [-1]], [[3], [0], [4]]])
def test_counts_that_cannot_be_are_refused(folder, counts):
    forge(folder / COMMIT, **{"memory/counts": torch.tensor(counts)})
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)


@pytest.mark.parametrize("nan", [[1, 2], [-1, -1]])
def test_counts_of_nan_too(folder, nan):
    forge(folder / COMMIT, **{"memory/nan": torch.tensor(nan)})
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)


def test_rows_are_as_many_as_the_steps_give(folder):
    record = load_record(folder / CHUNK)
    more = {name: torch.cat([tensor, tensor]) for name, tensor in record.tensors.items()}
    save_record(folder / CHUNK, more, record.facts)
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)


def test_an_energy_below_all_is_none(folder):
    energy = load_record(folder / CHUNK).tensors["energy"]
    forge(folder / CHUNK, energy=energy.fill_(-torch.inf))
    with pytest.raises(StoreError, match="is damaged"):
        run(folder)
