"""A run resumes with what it was begun with, in another process, and is refused with anything else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samplers import InvalidInput, MetropolisHastings, RunStore, sample
from samplers.storage import fingerprint
from samplers.storage.description import describe_all
from tests.samplers.changing import CHANGES, HELPERS, SCRIPT, SOURCE, UNCHANGED
from tests.samplers.doubles import KERNELS, climb, starts, tilt
from tests.samplers.resuming import signature


def in_a_process(folder, steps, version, hash_seed):
    out = subprocess.run(
        [sys.executable, "-m", "tests.samplers.changing", str(folder), str(steps), str(version)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        check=True,
        timeout=250,
    ).stdout
    return json.loads(out)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """A folder for each version of the script, and what it takes to name one as the other."""
    folders = {}
    for name, (old, new) in {**SOURCE, "imported file": ("", "")}.items():
        folder = folders[name] = tmp_path_factory.mktemp("version") / "one"
        folder.mkdir()
        assert old == "" or SCRIPT.count(old) == 1, f"{name}: {old!r} is not one place"
        (folder / "script.py").write_text(SCRIPT.replace(old, new) if old else SCRIPT)
        (folder / "helpers.py").write_text(HELPERS.replace("0.25", "0.5") if name == "imported file" else HELPERS)
    return folders


@pytest.fixture(scope="module")
def begun(versions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    return folder, in_a_process(folder, 4, versions["unchanged"], "1")


def test_all_of_a_script_resumes_after_changes_that_change_no_draw(begun, versions, tmp_path):
    whole = in_a_process(tmp_path / "whole", 8, versions["unchanged"], "3")
    assert all(isinstance(end, dict) for end in whole.values()), whole
    for version in UNCHANGED[:3]:
        folder = shutil.copytree(begun[0], tmp_path / version)
        assert in_a_process(folder, 8, versions[version], "2") == whole


def test_what_changes_draws_is_refused_with_its_name_and_both_values(begun, versions, tmp_path):
    """In this process: that fresh ones see the same is shown above."""
    from tests.samplers.changing import load, run

    assert set(CHANGES) == (set(SOURCE) | {"imported file"}) - set(UNCHANGED[:3])
    for change, noticed in CHANGES.items():
        for name in ("helpers", "script"):
            sys.modules.pop(name, None)
        runs = load(versions[change]).RUNS
        sys.path.pop(0)
        for name, message in noticed.items():
            folder = shutil.copytree(begun[0] / name, tmp_path / change / name)
            before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            with pytest.raises(InvalidInput, match=message):
                run(name, *runs[name], tmp_path / change, 8)
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_script_that_is_run_twice_resumes(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys, torch\n"
        "from samplers import MetropolisHastings, sample\n"
        "from tests.samplers.doubles import Walk\n"
        "class Mine(Walk):\n    pass\n"
        "def energy(x):\n    return x.square().sum(dim=1)\n"
        "if __name__ == '__main__':\n"
        "    trace = sample(MetropolisHastings(Mine(0.5)), energy, torch.zeros(2, 2), steps=int(sys.argv[1]),\n"
        "                   run_dir=sys.argv[2], progress=False)\n"
        "    print(trace.draws.sum().item())\n"
    )
    ends = []
    for folder, steps in (("a", 3), ("a", 6), ("b", 6)):
        command = [sys.executable, "-W", "error", str(script), str(steps), str(tmp_path / folder)]
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        ends.append(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=250).stdout)
    assert ends[1] == ends[2] != ends[0]


class Logged(MetropolisHastings):
    def __init__(self, proposal, file):
        super().__init__(proposal)
        self._file = file


def test_what_cannot_say_what_it_is_is_refused_before_the_run_begins(tmp_path):
    with open(os.devnull) as file:
        kernel = Logged(climb().proposal, file)
        with pytest.raises(
            InvalidInput, match=r"^kernel \(a Logged\) .*'_file' is a TextIOWrapper; write a method config"
        ):
            sample(kernel, tilt, starts(4), steps=3, run_dir=tmp_path)
        assert not (tmp_path / "shards").exists()
        assert not (tmp_path / "fingerprint.json").exists()
        without = sample(kernel, tilt, starts(4), steps=3)
        Logged.transient = ("_file",)
        try:
            assert signature(sample(kernel, tilt, starts(4), steps=3, run_dir=tmp_path)) == signature(without)
        finally:
            del Logged.transient


def test_nothing_is_described_without_a_folder(monkeypatch):
    monkeypatch.setattr(fingerprint, "describe_all", None)
    sample(climb(), tilt, starts(4), steps=3)


def test_other_versions_of_libraries_are_refused_unless_allowed(tmp_path, monkeypatch):
    def elsewhere(facts):
        described = describe_all(facts)
        return {**described, "energy": {**described["energy"], "code": "0"}, "libraries": {"python": "2.7"}}

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "describe_all", elsewhere)
        sample(climb(), tilt, starts(4), steps=3, run_dir=tmp_path)
    call = {"kernel": climb(), "energy": tilt, "x0": starts(4), "steps": 6}
    with pytest.raises(InvalidInput, match=r'energy.code was "0" and is now "'):
        sample(**call, run_dir=tmp_path)
    with RunStore(tmp_path, allow_version_change=True) as store:
        assert signature(sample(**call, run_dir=store)) == signature(sample(**call))
        with pytest.raises(InvalidInput, match=r"energy.function was "):
            sample(**call | {"energy": bent}, run_dir=store)


def bent(x):
    return 2 * tilt(x)


OLD = Path(__file__).parent / "data" / "run_of_format_1"


@pytest.fixture
def old_run(tmp_path):
    return shutil.copytree(OLD, tmp_path / "old")


@pytest.mark.parametrize(
    ("mark", "version"), [(None, "without mcmc-text.json, as version 0.1.0 left them"), (1, "of another version of .*")]
)
def test_a_run_of_an_older_version_is_refused_and_left_as_it_is(old_run, mark, version):
    """Its states come from the generators of that version, and those of shards not begun would not."""
    if mark:
        (old_run / "mcmc-text.json").write_text(json.dumps({"format": "mcmc-text run", "version": mark}))
    before = {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()}
    one_line = f"^'.*old' holds a run {version}, in which a seed means other draws; resume it with that version, .*$"
    call = {"steps": 9, "warmup": 1, "thin": 2, "seed": 5, "shard_size": 3, "run_dir": old_run, "progress": False}
    with pytest.raises(InvalidInput, match=one_line):
        sample(KERNELS["mixture"](), tilt, starts(4), **call)
    assert {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()} == before
