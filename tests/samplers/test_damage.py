"""Files of a run that are not what was written: told by name or of no consequence, never other draws or a crash."""

import os
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplers import McmcTextError, RunStore, StoreError, sample
from tests.samplers.damaging import EVERY, KINDS, copied, damage, damages, files, kept, outcome, whole
from tests.samplers.doubles import starts, tilt

pytestmark = pytest.mark.usefixtures("no_sync")


def test_left_alone_the_runs_go_on(folders, tmp_path):
    for kind in KINDS:
        assert outcome(kind, copied(folders, tmp_path, kind)) == whole(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_told_by_name(kind, folders, tmp_path):
    for name in files(folders[kind]):
        size = (folders[kind] / name).stat().st_size
        for cut in sorted({0, 1, 7, 8, 9, size // 3, size // 2, size - 9, size - 1} & set(range(size))):
            folder = copied(folders, tmp_path, kind)
            os.truncate(folder / name, cut)
            found = outcome(kind, folder)
            newline = name.endswith(".json") and cut == size - 1  # at its end, which means nothing
            if newline or name in ("lock", "events.jsonl"):
                assert found == whole(kind)
            else:
                assert name in str(found), (name, cut, found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_that_flipped_is_told_by_name_or_means_nothing(kind, folders, tmp_path):
    rng = random.Random(kind)
    harmless = 0
    for name in files(folders[kind]):
        data = (folders[kind] / name).read_bytes()
        for at in rng.sample(range(len(data)), min(len(data), 12)):
            folder = copied(folders, tmp_path, kind)
            bit = 1 << rng.randrange(8)
            (folder / name).write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            found = outcome(kind, folder)
            if found == whole(kind):
                harmless += name not in ("lock", "events.jsonl")
            else:
                assert name in str(found), (name, at, bit, found)
    assert harmless < 5


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_before_a_step_is_taken(kind, folders, tmp_path):
    folder = copied(folders, tmp_path, kind)
    os.truncate(folder / "shards/00001/00000000.safetensors", 9)
    with pytest.raises(StoreError, match="00001/00000000"):
        kept(kind, folder, observers=[lambda *_: pytest.fail("took a step")])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_gone_is_told_by_name_and_nothing_starts_over(kind, folders, tmp_path):
    for name in files(folders[kind]):
        folder = copied(folders, tmp_path, kind)
        (folder / name).unlink()
        if name in ("lock", "events.jsonl"):
            assert outcome(kind, folder) == whole(kind)
        elif name == "mcmc-text.json":
            assert "holds a run without mcmc-text.json" in str(outcome(kind, folder))
        else:
            assert f"{name}' is missing" in str(outcome(kind, folder))
            assert not (folder / name).exists()


def test_a_file_of_another_shard_step_or_run_is_told_by_name(folders, tmp_path):
    other = tmp_path / "other"
    with RunStore(other, every=EVERY) as store:
        sample(KINDS["cycle"](), tilt, starts(4), steps=5, warmup=1, shard_size=2, seed=10, run_dir=store)
    first, second = "shards/00000/", "shards/00001/"
    pairs = [(source + name, target + name) for source, target in ((first, second), (second, first)) for name in
             ("00000000.safetensors", "00000002.safetensors", "commit.safetensors")]  # fmt: skip
    pairs += [(second + "00000000.safetensors", second + "00000002.safetensors")]
    pairs += [(second + "00000002.safetensors", second + "00000000.safetensors")]
    pairs += [(second + "commit.safetensors", second + "00000000.safetensors")]
    pairs += [(second + "00000000.safetensors", second + "commit.safetensors")]
    for source, target in pairs:
        folder = copied(folders, tmp_path)
        shutil.copyfile(folder / source, folder / target)
        assert target in str(outcome("cycle", folder)), (source, target)
    for name in files(other / "shards"):
        if not (folders["cycle"] / "shards" / name).exists():
            continue
        folder = copied(folders, tmp_path)
        shutil.copyfile(other / "shards" / name, folder / "shards" / name)
        assert f"{name}' is of another run" in str(outcome("cycle", folder)), name
    folder = copied(folders, tmp_path)
    shutil.rmtree(folder / "shards")
    shutil.copytree(other / "shards", folder / "shards")
    assert "is of another run" in str(outcome("cycle", folder))


def test_an_older_commit_record_goes_on_from_there_to_the_same_draws(tmp_path):
    older = tmp_path / "older"
    kept("tempered", tmp_path / "run", steps=3)
    shutil.copytree(tmp_path / "run", older)
    kept("tempered", tmp_path / "run", steps=5)
    for shard in ("00000", "00001"):
        shutil.copyfile(
            older / f"shards/{shard}/commit.safetensors", tmp_path / f"run/shards/{shard}/commit.safetensors"
        )
    assert outcome("tempered", tmp_path / "run") == whole("tempered")


# --- anything at all


def fuzzed(examples):
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    how = settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=slow)
    changes = st.lists(damages, min_size=1, max_size=3)
    return lambda test: how(given(kind=st.sampled_from(list(KINDS)), changes=changes)(test))


def check(folders, tmp_path, kind, changes):
    """Either an error of ours, or the draws of the run that was left alone."""
    folder = copied(folders, tmp_path, kind)
    for change in changes:
        if files(folder):
            damage(folder, *change)
    found = outcome(kind, folder)
    assert isinstance(found, McmcTextError) or found == whole(kind)


@fuzzed(100)
def test_any_damage_is_an_error_or_of_no_consequence(folders, tmp_path, kind, changes):
    check(folders, tmp_path, kind, changes)


@pytest.mark.slow
@fuzzed(2000)
def test_any_damage_at_length(folders, tmp_path, kind, changes):
    check(folders, tmp_path, kind, changes)
