"""``--workers``: processes that share the shards of a run draw what one process draws, and tell what befalls them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.gibbs import gibbs
from experiments.keywords import keywords
from samplers import Interrupted, InvalidInput, McmcTextError, RunStore
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny import build, save

QUICK = {"chains": 5, "shard_size": 2, "steps": 8, "warmup": 2, "thin": 2, "commit_every": 2, "length": (2, 4)}
LONG = {**QUICK, "steps": 100_000, "commit_every": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    lm = build("roberta", scale=1.0)
    return str(save(lm.model, lm.space.tokenizer, tmp_path_factory.mktemp("model")))


@pytest.fixture
def own(tmp_path):
    """A file with an energy that, in other processes than this one, does something once."""
    path = tmp_path / "mine.py"

    def write(act: str, call: int = 5) -> str:
        path.write_text(
            "import os, sys\n"
            "from pathlib import Path\n\n"
            "calls = []\n\n\n"
            "def mine(texts):\n"
            "    calls.append(texts)\n"
            f"    if os.getpid() != {os.getpid()} and len(calls) == {call}:\n"
            "        try:\n"
            "            Path(__file__).with_suffix('.acted').touch(exist_ok=False)\n"
            "        except FileExistsError:\n"
            "            return [0.0] * len(texts)\n"
            f"        {act}\n"
            "    return [0.0] * len(texts)\n"
        )
        return f"{path}:mine"

    return write


def samples(folder: Path) -> bytes:
    return (folder / "samples.jsonl").read_bytes()


def wait_for(happened, seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def committed(folder: Path) -> list[Path]:
    return sorted(folder.glob("shards/*/commit.safetensors"))


def test_any_number_of_workers_gives_the_same_samples(model, tmp_path):
    alone = gibbs(model=model, out=str(tmp_path / "alone"), **QUICK)
    two = gibbs(model=model, out=str(tmp_path / "two"), workers=2, **QUICK)
    with pytest.warns(UserWarning, match="workers is 4, but there is work for 3"):
        gibbs(model=model, out=str(tmp_path / "four"), workers=4, **QUICK)
    assert samples(tmp_path / "alone") == samples(tmp_path / "two") == samples(tmp_path / "four")
    assert two.spent.cost == alone.spent.cost
    assert two.spent.news == ""
    assert two.texts() == alone.texts()
    # Another number of workers is no other run, and no worker is started where nothing is to be done.
    assert gibbs(model=model, out=str(tmp_path / "two"), workers=3, **QUICK).spent.news.startswith("The run was")


def test_workers_share_populations(model, tmp_path):
    options = {"sampler": "smc", "particles": 6, "populations": 3, "moves": 1, "model": model, "length": (2, 4)}
    alone = gibbs(out=str(tmp_path / "alone"), **options)
    with pytest.warns(UserWarning, match="is 4, but there is work for 3: populations are done whole, and there are 3;"):
        four = gibbs(out=str(tmp_path / "four"), workers=4, **options)
    assert samples(tmp_path / "alone") == samples(tmp_path / "four")
    assert four.spent.cost == alone.spent.cost
    assert four.log_z == alone.log_z


def test_a_worker_that_dies_is_told_and_the_others_finish(model, own, tmp_path, capfd):
    died = own("print('a last word', file=sys.stderr, flush=True); os._exit(9)")

    def run(out):
        return gibbs(model=model, out=str(tmp_path / out), energies=[died], workers=2, **QUICK)

    with pytest.raises(McmcTextError, match=r"worker \d of 2 ended with exit code 9; what it committed is kept"):
        run("parts")
    shown = capfd.readouterr().err
    assert re.search(r"worker \d of 2:\na last word", shown)
    assert committed(tmp_path / "parts")
    assert not (tmp_path / "parts" / "samples.jsonl").exists()
    run("parts")  # the file leaves its mark but once
    gibbs(model=model, out=str(tmp_path / "alone"), energies=[died], **QUICK)
    assert samples(tmp_path / "parts") == samples(tmp_path / "alone")


def test_an_error_of_a_worker_is_that_of_the_run(model, own, tmp_path, capfd):
    spec = own("return [float('nan')] * len(texts)", call=18)  # the first ones try the energy
    told = r"^energy 'mine' .*\bnan\b.* at step (\d).*failed\.jsonl'$"
    with pytest.raises(McmcTextError, match=f"(?i){told}") as caught:
        gibbs(model=model, out=str(tmp_path / "run"), energies=[spec], workers=2, **QUICK)
    assert capfd.readouterr().err == ""
    lines = (tmp_path / "run" / "failed.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in lines} == {int(re.match(told, str(caught.value), re.IGNORECASE)[1])}
    assert len(committed(tmp_path / "run")) >= 2  # also of the one that failed what it had


def test_a_signal_is_passed_on_and_all_that_is_done_is_kept(model, tmp_path):
    folder = tmp_path / "run"

    def stop() -> None:
        wait_for(lambda: len(committed(folder)) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    watch = threading.Thread(target=stop)
    watch.start()
    with pytest.raises(
        Interrupted,
        match=r"stopped after [\d,]+ of 300,000 steps; .*; resume with the same call",
    ):
        gibbs(model=model, out=str(folder), workers=2, **LONG)
    watch.join()
    config = json.loads((folder / "config.json").read_text())
    assert config["workers"] == 2
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "stopped"]


@pytest.mark.slow
def test_no_worker_outlives_its_parent(model, tmp_path):
    how = {"model": model, "out": str(tmp_path / "run"), "workers": 2, **LONG}
    code = f"from experiments.gibbs import gibbs\ngibbs(**{how})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: len(committed(tmp_path / "run")) == 2)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    workers = [pid for pid in children if "LokyProcess" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2
    for pid in workers:  # until it ends, so that it never writes beside a run that goes on
        assert tmp_path / "run" / "lock" in [path.resolve() for path in Path(f"/proc/{pid}/fd").iterdir()]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    with RunStore(tmp_path / "run"):
        pass


def test_where_workers_can_do_nothing_it_is_told(model, tmp_path):
    lm = build("roberta", scale=1.0)
    out = str(tmp_path / "run")
    with pytest.raises(InvalidInput, match="workers needs a folder to work in"):
        gibbs(model=model, workers=2, **QUICK)
    with pytest.raises(InvalidInput, match="workers load models for themselves; give the name or folder of model"):
        gibbs(model=lm, workers=2, out=out, **QUICK)
    with pytest.raises(InvalidInput, match="give the name or folder of scorer"):
        keywords(["sea"], model=model, scorer=tiny_causal(lm.space.tokenizer), workers=2, out=out, **QUICK)
    for sampler in ("rejection", "importance"):
        with pytest.raises(InvalidInput, match=f"workers has no meaning for sampler {sampler}"):
            keywords(["sea"], model=model, sampler=sampler, workers=2, out=out, **QUICK)
    assert not (tmp_path / "run").exists()


def test_the_number_of_threads_changes_no_bit(fresh_process):
    """Of products as a small model needs them; without the setting some of these sizes differ in their last bits."""
    code = (
        "import torch\n"
        "import experiments\n"
        "rng = torch.Generator().manual_seed(0)\n"
        "same = []\n"
        "for rows in (1, 2, 6, 11, 18, 66):\n"
        "    for inner, outer in ((256, 256), (256, 768), (384, 256)):\n"
        "        x, weight = torch.randn(rows, inner, generator=rng), torch.randn(outer, inner, generator=rng)\n"
        "        found = []\n"
        "        for threads in (1, 2):\n"
        "            torch.set_num_threads(threads)\n"
        "            found.append(torch.nn.functional.linear(x, weight))\n"
        "        same.append(torch.equal(*found))\n"
        "print(all(same), same)\n"
    )
    done = fresh_process(code)
    assert done.stdout.startswith("True"), done.stdout + done.stderr
