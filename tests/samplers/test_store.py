"""The run's folder in a bad world: full or read-only disks, two writers, links and pipes where files should be."""

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from samplers import CallCounter, InvalidInput, McmcTextError, RunStore, StoreError, sample
from samplers.storage.atomic_files import PARTIAL, append_line, exists, read_bounded, write_atomically, write_parts
from samplers.storage.tensor_file import load_record, save_record
from tests.samplers.doubles import KERNELS, climb, starts, tilt
from tests.samplers.resuming import signature

STEPS, EVERY = 6, 2
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="relies on Linux")


def run(folder, *, steps=STEPS, energy=tilt, **options):
    call = {"steps": steps, "shard_size": 2, "seed": 5, **options}
    if folder is None:
        return sample(KERNELS["cycle"](), energy, starts(3), **call)
    with RunStore(folder, every=EVERY) as store:
        store.log("begun")
        store.pin("config.json", {"name": "toy"})
        return sample(KERNELS["cycle"](), energy, starts(3), run_dir=store, **call)


def outcome(folder):
    """Signature of the run, or its error, which can be printed on one line."""
    try:
        return signature(run(folder))
    except (StoreError, InvalidInput) as error:
        printable = str(error).isprintable()
        assert printable
        return error


@pytest.fixture(scope="module")
def whole():
    return signature(run(None))


@pytest.fixture
def begun(tmp_path):
    """A folder in which four steps of six are done."""
    run(tmp_path / "run", steps=4)
    return tmp_path / "run"


# --- disks that are full, slow to say so, or closed


@contextmanager
def file_size_limit(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 3000, 6000])
def test_a_disk_that_is_full_is_told_and_the_last_commit_holds(size, begun, whole):
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with file_size_limit(size), pytest.raises(StoreError, match="File too large"):
        run(begun)
    del before[begun / "events.jsonl"]
    assert {path: path.read_bytes() for path in before} == before
    assert signature(run(begun)) == whole


@pytest.mark.parametrize("operation", ["open", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_any_operation_may_fail_at_any_time(operation, code, tmp_path, whole, monkeypatch):
    """Each in turn, until the run gets by without the one that would fail."""
    real, left = getattr(os, operation), 0

    def failing(*arguments, **options):
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    monkeypatch.setattr(os, operation, failing)
    for number in range(200):
        left = number
        result = outcome(tmp_path / "run")
        if left >= 0:
            break
        if isinstance(result, McmcTextError):
            assert os.strerror(code) in str(result)
            assert str(tmp_path / "run") in str(result)
    assert result == whole
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))


def test_a_folder_that_cannot_sync_names_is_used_all_the_same(tmp_path, whole, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(descriptor):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert signature(run(tmp_path)) == whole


def a_file(folder):
    (folder / "file").write_text("precious")
    return folder / "file"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (a_file, "File exists|Not a directory"),
        (lambda folder: a_file(folder) / "run", "File exists|Not a directory"),
        (lambda folder: Path("/proc/none/run"), "No such file|cannot"),
        (lambda folder: Path("/dev/null"), "File exists|Not a directory"),
        (lambda folder: folder / ("n" * 300), "File name too long"),
        (lambda folder: f"{folder}/a\0b", "is not a valid name of a folder"),
    ],
)
@linux
def test_a_folder_that_cannot_be_is_refused_before_anything_is_scored(where, reason, tmp_path):
    energy = CallCounter(tilt)
    with pytest.raises(InvalidInput, match=reason):
        run(where(tmp_path), energy=energy)
    assert energy.calls == 0
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_text() == "precious"


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidInput, match=r"holds files that are not of a run; choose another folder"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_is_begun_in_folders_that_are_missing_and_through_a_link_of_its_user(tmp_path, whole):
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk").mkdir()
    assert signature(run(tmp_path / "link" / "a" / "run")) == whole
    (tmp_path / "direct").symlink_to(tmp_path / "disk" / "a" / "run", target_is_directory=True)
    assert signature(run(tmp_path / "direct")) == whole


# --- two writers

HOLDER = """
import sys
from samplers import RunStore
with RunStore(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(folder):
    """Another process that holds the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout.readline() == b"held\n"
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_the_second_of_two_writers_is_told_the_first_one_and_changes_nothing(begun, whole):
    with holder(begun) as child:
        before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
        energy = CallCounter(tilt)
        with pytest.raises(
            InvalidInput, match=rf"is in use by process {child.pid} on .+; wait for it or choose"
        ) as told:
            run(begun, energy=energy)
        assert "\n" not in str(told.value)
        assert energy.calls == 0
        assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert (begun / "owner.json").exists()
        assert signature(run(begun)) == whole  # what was killed holds nothing
    assert not (begun / "owner.json").exists()


@linux
def test_a_process_that_inherited_the_lock_keeps_it(begun, whole):
    """As a worker does, whose last write may be under way still when its parent is killed."""
    code = (
        "import os, signal, subprocess, sys\n"
        "from samplers import RunStore\n"
        "store = RunStore(sys.argv[1]).__enter__()\n"
        "heir = subprocess.Popen(['sleep', '60'], pass_fds=[store.descriptor], stdout=subprocess.DEVNULL)\n"
        "print(heir.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(begun)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    heir = int(killed.stdout)
    with pytest.raises(InvalidInput, match="in use by process"):
        run(begun)
    os.kill(heir, signal.SIGKILL)
    until = time.monotonic() + 20
    while isinstance(outcome(begun), InvalidInput):
        assert time.monotonic() < until, "it never died"
    assert outcome(begun) == whole


def test_one_process_does_not_enter_twice(tmp_path):
    with RunStore(tmp_path), pytest.raises(InvalidInput, match=f"in use by process {os.getpid()} on "):
        run(tmp_path)
    run(tmp_path)


@pytest.mark.parametrize(
    "owner",
    [
        "",
        "{",
        "[1]",
        '{"pid": "\\u001b[2J", "host": "h"}',
        '{"pid": 1, "host": "a\\nb"}',
        '{"pid": 1e99, "host": null}',
        json.dumps({"pid": 1, "host": "h" * 10**6}),
    ],
    ids=range(7),
)
def test_an_owner_that_says_nonsense_is_another_process(owner, tmp_path):
    with RunStore(tmp_path):
        (tmp_path / "owner.json").write_text(owner)
        with pytest.raises(InvalidInput, match="in use by another process; wait") as told:
            run(tmp_path)
        assert str(told.value).isprintable()


def test_a_stale_owner_without_a_lock_is_nobody(begun, whole):
    (begun / "owner.json").write_text('{"pid": 1, "host": "elsewhere"}')
    assert signature(run(begun)) == whole


def test_what_killed_processes_had_half_written_is_removed(begun, whole):
    left = [begun / f".config.json.77{PARTIAL}", begun / "shards" / "00001" / f".commit.safetensors.78{PARTIAL}"]
    for path in left:
        path.write_bytes(b"half")
    others = [begun / "mine.part", begun / ".movie.mkv.part", begun / ".a.77.part", begun / "shards" / ".hidden"]
    for path in others:
        path.write_bytes(b"mine")
    assert signature(run(begun)) == whole
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


STRANGERS = {
    "a download": {".movie.mkv.part": b"half"},
    "partial files by another name": {".config.json.77.part": b"half"},
    "a model": {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"weights"},
    "an experiment of somebody else": {"config.json": b'{"experiment": "mine"}', "notes": b"mine"},
    "a file called lock": {"lock": b"mine"},
    "a locked folder of somebody else": {"lock": b"", "notes": b"mine"},
    "a mark that is none": {"mcmc-text.json": b"mine", ".x.1.mcmc-text-part": b"mine"},
}


@pytest.mark.parametrize("files", STRANGERS.values(), ids=STRANGERS)
def test_a_folder_of_the_user_is_refused_and_stays_as_it_is(files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    before = snapshot(tmp_path)
    with pytest.raises(McmcTextError, match=r"holds files that are not of a run; choose another folder|is damaged"):
        run(tmp_path)
    assert snapshot(tmp_path) == before


def test_workers_may_write_the_same_facts_at_once(tmp_path):
    """Of two that write a file at the same time neither sees or breaks what the other has half written."""
    with RunStore(tmp_path) as store:

        def parts():
            yield b'{"a":'
            child = os.fork()
            if child == 0:
                store.pin("facts.json", {"a": 1})
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert store.read("facts.json") == {"a": 1}
            yield b" 1}"

        write_parts(tmp_path / "facts.json", parts())
        assert store.pin("facts.json", {"a": 1})


def test_a_worker_that_begins_while_another_one_draws_misses_nothing(tmp_path, monkeypatch):
    """Whatever the other one does between two looks of this one."""
    real = exists

    def overtaken(path):
        answer = real(path)
        if path.name in ("fingerprint.json", "commit.safetensors") and not answer:
            monkeypatch.setattr("samplers.storage.shard_store.exists", real)
            begin()
        return answer

    def begin():
        sample(climb(), tilt, starts(3), steps=6, run_dir=RunStore(tmp_path, every=2))

    with RunStore(tmp_path, every=2) as store:
        monkeypatch.setattr("samplers.storage.shard_store.exists", overtaken)
        sample(climb(), tilt, starts(3), steps=6, run_dir=store)
        assert store.shard(0).load().facts["done"] == 6
        os.rename(tmp_path / "shards", tmp_path / "aside")
        monkeypatch.setattr("samplers.storage.shard_store.exists", overtaken)
        assert store.shard(0).load() is None
        assert store.shard(0).load().facts["done"] == 6


# --- links, pipes and folders where files should be

CHUNK = "shards/00000/00000000.safetensors"
NAMES = [
    "lock",
    "owner.json",
    "events.jsonl",
    "config.json",
    "fingerprint.json",
    "shards",
    "shards/00000",
    CHUNK,
    "shards/00000/00000004.safetensors",
    "shards/00000/commit.safetensors",
    "shards/00001/commit.safetensors",
]
HALF = [f".{name}.{{pid}}{PARTIAL}" for name in ("owner.json", "config.json", "fingerprint.json")]
HALF += [f"shards/00000/.{name}.safetensors.{{pid}}{PARTIAL}" for name in ("00000000", "00000004", "commit")]


def snapshot(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("state", ["new", "begun"])
@pytest.mark.parametrize("link", ["symbolic", "dangling", "hard"])
@pytest.mark.parametrize("name", NAMES + HALF)
def test_nothing_outside_is_written_through_a_link(name, link, state, tmp_path, whole):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    if state == "begun":
        run(folder, steps=4)
    path = folder / name.format(pid=os.getpid())
    path.parent.mkdir(parents=True, exist_ok=True)
    target = outside / "precious"
    is_folder = path.name in ("shards", "00000")
    if is_folder and link == "symbolic":
        target.mkdir()
        for below in (target, target / "00000"):
            below.mkdir(exist_ok=True)
            (below / f".precious.9{PARTIAL}").write_bytes(b"precious")
    elif link != "dangling":
        target.write_bytes(b"precious")
    if path.is_dir():
        path.rename(folder / "aside")
    path.unlink(missing_ok=True)
    if link == "hard":
        if is_folder:
            pytest.skip("folders have no hard links")
        path.hardlink_to(target)
    else:
        path.symlink_to(target, target_is_directory=is_folder)
    before = snapshot(outside)
    result = outcome(folder)
    assert isinstance(result, McmcTextError) or result == whole
    after = snapshot(outside)
    if (name, link) == ("events.jsonl", "hard"):  # a line is added to the file that has both names, and nothing lost
        assert after[target].startswith(before[target])
    else:
        assert after == before


@pytest.mark.parametrize("state", ["new", "begun"])
@pytest.mark.parametrize("thing", ["pipe", "folder", "socket"])
@pytest.mark.parametrize("name", NAMES + HALF[:1] + HALF[-1:])
@linux
def test_nothing_else_than_a_file_is_waited_for_or_taken_for_one(name, thing, state, tmp_path, whole):
    folder = tmp_path / "run"
    if state == "begun":
        run(folder, steps=4)
    path = folder / name.format(pid=os.getpid())
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(folder / "aside")
    path.unlink(missing_ok=True)
    if thing == "folder":
        path.mkdir()
    else:
        os.mkfifo(path) if thing == "pipe" else os.mknod(path, 0o600 | 0o140000)
    result = outcome(folder)
    assert isinstance(result, McmcTextError) or result == whole


# --- pinned facts


def test_facts_are_pinned_and_compared(tmp_path):
    facts = {"a": 1, "b": {"c": [1, "x"], "d": float("nan")}, "e": float("inf")}
    with RunStore(tmp_path) as store:
        assert not store.pin("config.json", facts)
        assert store.pin("config.json", facts)
        for changed, message in (
            ({**facts, "a": 2}, "config.json': a was 1 and is now 2; give the stored value"),
            ({**facts, "b": {"c": [1, "x"], "d": 0.0}}, "b.d was NaN and is now 0.0"),
            ({**facts, "f": "new"}, 'f was null and is now "new"'),
            ({"a": 1, "b": facts["b"]}, "e was Infinity and is now null"),
        ):
            with pytest.raises(InvalidInput, match=message):
                store.pin("config.json", changed)
        assert store.pin("config.json", {**facts, "a": 7}, free=("a",))
        assert store.read("config.json")["a"] == 7
        with pytest.warns(UserWarning, match="a was 7 and is now 8; the draws may differ"):
            assert store.pin("config.json", {**facts, "a": 8}, lenient=True)
        assert store.read("config.json")["a"] == 7


@pytest.mark.parametrize(
    "stored",
    ['{"a": "\\u001b[2J\\ud800\\u009b"}', '{"a": 1, "\\u001b[2J\\n\\ud800": 2}', json.dumps({"a": "x" * 10**6})]
    + ['{"a": %s1%s}' % ("[" * depth, "]" * depth) for depth in (300, 900, 960, 970, 980, 990, 1000, 10**5)],  # noqa: UP031
)
def test_stored_facts_are_told_on_one_line_that_can_be_printed(stored, tmp_path):
    with RunStore(tmp_path) as store:
        (tmp_path / "config.json").write_text(stored)
        with pytest.raises((InvalidInput, StoreError), match=r"config\.json'") as told:
            store.pin("config.json", {"a": 1})
    message = str(told.value)
    assert message.encode()
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize("name", ["fingerprint.json", "config.json"])
def test_facts_that_went_missing_are_not_made_up(name, begun):
    (begun / name).unlink()
    with pytest.raises(StoreError, match=f"{name}' is missing, although the run has draws; restore it"):
        run(begun)
    assert not (begun / name).exists()


def test_killed_before_anything_was_pinned_or_only_the_versions(tmp_path):
    (tmp_path / f".mcmc-text.json.7{PARTIAL}").write_text("{")
    (tmp_path / "lock").touch()
    first = sample(climb(), tilt, starts(3), steps=2, run_dir=tmp_path)
    (tmp_path / "fingerprint.json").unlink()
    for path in sorted((tmp_path / "shards").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "shards").rmdir()
    assert signature(sample(climb(), tilt, starts(3), steps=2, run_dir=tmp_path)) == signature(first)


# --- totals and the parts


def test_totals_add_up_over_stops_and_shards(tmp_path):
    counting, spent = CallCounter(tilt), {"seconds": 0.5}
    for steps in (3, 4, 7):
        with RunStore(tmp_path, every=2, meter=lambda: {"rows": counting.rows, **spent}) as store:
            sample(KERNELS["pseudo-gibbs"](), counting, starts(3), steps=steps, shard_size=2, run_dir=store)
            totals = store.totals(2)
            spent["seconds"] += 1.0  # after the last commit: no part of the run
    # 7 steps and a start for each chain, and one more look at each where the run went on, twice
    assert totals == {"rows": 3 * 8 + 3 * 2, "seconds": 0.0}


def test_a_torn_last_line_stays_alone(tmp_path):
    path = tmp_path / "events.jsonl"
    for line in ("one", "two"):
        append_line(path, line)
    path.write_bytes(path.read_bytes()[:-2])
    append_line(path, "three")
    append_line(path, "four")
    assert path.read_text() == "one\ntw\nthree\nfour\n"


def test_reads_are_bounded_without_reserving_what_they_may_not_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(StoreError, match="huge' is larger than 10 bytes, so this program did not write it"):
        read_bounded(path, 10)
    os.truncate(path, 10)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, before[1]))
    try:
        assert read_bounded(path, 2**32) == bytes(10)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("samplers.storage.tensor_file.LIMIT", 1000)
    with pytest.raises(StoreError, match="would be larger than 1,000 bytes; commit more often"):
        save_record(tmp_path / "big", {"x": torch.zeros(1000)}, {})
    assert not list(tmp_path.iterdir())


def test_whether_a_file_is_there_is_not_guessed(tmp_path):
    assert not exists(tmp_path / "none")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    assert exists(tmp_path / "dangling")
    a_file(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        exists(tmp_path / "file" / "below")


def test_records_are_what_was_written(tmp_path):
    tensors = {
        "view": torch.arange(12).reshape(3, 4).T,
        "same": torch.arange(12).reshape(3, 4),
        "none": torch.zeros(0, 3, dtype=torch.float64),
        "number": torch.tensor(3),
        "bool": torch.tensor([True, False]),
        "special": torch.tensor([float("nan"), float("-inf"), -0.0], dtype=torch.float32),
        "bytes": torch.Generator().get_state(),
    }
    facts = {"one": 1, "text": "ünï\n\ud800", "nested": {"list": [1.5, None, True]}}
    save_record(tmp_path / "a", tensors, facts)
    save_record(tmp_path / "b", dict(reversed(tensors.items())), dict(reversed(facts.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    record = load_record(tmp_path / "a")
    assert record.facts == facts
    assert record.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert record.tensors[name].dtype == tensor.dtype
        assert record.tensors[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_half_written_files_are_replaced_and_no_link_is_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    partial = tmp_path / f".file.{os.getpid()}{PARTIAL}"
    for left in (
        lambda: partial.write_bytes(b"half"),
        lambda: partial.symlink_to(precious),
        lambda: partial.hardlink_to(precious),
    ):
        left()
        write_atomically(tmp_path / "file", b"new")
        assert snapshot(tmp_path) == {precious: b"precious", tmp_path / "file": b"new"}


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path):
    def parts():
        yield b"new"
        raise ZeroDivisionError

    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(ZeroDivisionError):
        write_parts(tmp_path / "file", parts())
    assert snapshot(tmp_path) == {tmp_path / "file": b"old"}


def test_every_error_of_the_folder_is_one_of_ours():
    assert issubclass(StoreError, McmcTextError)


@pytest.mark.parametrize("shards", [[], [2], [-1], [0, 0], [0, 5]])
def test_shards_that_are_not_there_are_refused(shards):
    with pytest.raises(InvalidInput, match=re.escape(f"shards is {shards}; give some of 0..1, each once")):
        run(None, shards=shards)


class Hoarder:
    """A kernel whose memory grows."""

    def __init__(self, aux):
        self.kernel, self.aux, self.move_names = climb(), aux, climb().move_names

    def init(self, x, energy):
        return self.kernel.init(x, energy)._replace(aux=self.aux)

    def step(self, state, energy, rng, *, beta=1.0):
        state, info = self.kernel.step(state, energy, rng, beta=beta)
        return state._replace(aux={**state.aux, "seen": torch.cat([state.aux["seen"], state.x[:1, 0]])}), info


@pytest.mark.parametrize(
    ("aux", "message"),
    [
        ({"seen": torch.zeros(0)}, r"the kernel's aux/seen was torch.float32 \[0\] and is now torch.float32 \[2\]"),
        ({"seen": torch.zeros(0), "n": 3}, r"the kernel's aux\['n'\] is int; a run in a folder needs tensors"),
        ({"seen": torch.zeros(0), "a/b": torch.zeros(1)}, r"aux\['a/b'\] is Tensor; .* names without '/'"),
    ],
)
def test_a_kernel_whose_memory_cannot_be_kept_is_told_at_the_first_commit(aux, message, tmp_path):
    sample(Hoarder(aux), tilt, starts(3).float(), steps=3)
    with pytest.raises(InvalidInput, match=message), RunStore(tmp_path, every=2) as store:
        sample(Hoarder(aux), tilt, starts(3).float(), steps=3, run_dir=store)
