"""``--backend ray``: the draws of one process on any number of nodes, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from experiments.executors import ray_cluster
from experiments.gibbs import gibbs
from samplers import Interrupted, InvalidInput, McmcTextError
from tests.lm_adapters.tiny import build, save

QUICK = {"chains": 8, "shard_size": 1, "steps": 12, "warmup": 2, "thin": 2, "commit_every": 4, "length": (2, 4)}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    lm = build("roberta", scale=1.0)
    return str(save(lm.model, lm.space.tokenizer, tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def cluster():
    """A head without cores; tests add nodes of one core each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    small = {"object_store_memory": 80 * 2**20}
    found = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small}
    )
    nodes = []

    def have(count: int) -> str:
        while len(nodes) < count:
            nodes.append(found.add_node(num_cpus=1, **small))
        while len(nodes) > count:
            found.remove_node(nodes.pop())
        return found.address

    found.have, found.nodes = have, nodes
    yield found
    found.shutdown()


@pytest.fixture
def counting(tmp_path):
    """An energy in a file that notes each call that it gets beside the file, and takes a while."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import time\nfrom pathlib import Path\n\n\n"
        "def mine(texts):\n"
        "    with Path(__file__).with_suffix('.calls').open('a') as calls:\n"
        "        calls.write(f'{len(texts)}\\n')\n"
        "    time.sleep(0.02)\n"
        "    return [0.1 * len(text) for text in texts]\n"
    )
    return f"{path}:mine", path.with_suffix(".calls")


def samples(folder: Path) -> bytes:
    return (folder / "samples.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_any_number_of_nodes_gives_the_draws_of_one_process(model, cluster, counting, tmp_path):
    how = {"model": model, "energies": [counting[0]], **QUICK, "steps": 60}
    gibbs(out=str(tmp_path / "alone"), **how)
    for count in (1, 2, 4):
        out = tmp_path / str(count)
        run = gibbs(out=str(out), backend="ray", ray_address=cluster.have(count), **how)
        times = sorted(path.stat().st_mtime for path in out.glob("shards/*/*.safetensors"))
        print(f"{count} nodes: 8 shards, {times[-1] - times[0]:.1f} s from the first commit to the last")
        assert samples(out) == samples(tmp_path / "alone")
        assert run.spent.news == ""
        assert len(list(out.glob("shards/*/commit.safetensors"))) == 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_node_costs_what_it_had_not_committed(model, cluster, counting, tmp_path):
    spec, calls = counting
    how = {"model": model, "energies": [spec], **QUICK, "chains": 2, "steps": 400, "commit_every": 20}
    address = cluster.have(2)
    gibbs(out=str(tmp_path / "whole"), backend="ray", ray_address=address, **how)
    undisturbed = len(calls.read_text().splitlines())
    calls.write_text("")
    killed = []

    def kill() -> None:
        until = time.monotonic() + 300
        while len(list((tmp_path / "run").glob("shards/*/00000020.safetensors"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        killed.append(time.monotonic())
        cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)

    watch = threading.Thread(target=kill)
    watch.start()
    gibbs(out=str(tmp_path / "run"), backend="ray", ray_address=address, **how)
    watch.join()
    lost = len(calls.read_text().splitlines()) - undisturbed
    print(f"calls of the energy: {undisturbed} undisturbed, {lost} more with a node killed")
    assert killed
    assert samples(tmp_path / "run") == samples(tmp_path / "whole")
    assert lost < undisturbed / 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_signal_lets_shares_commit_and_without_ray_the_run_goes_on(model, cluster, counting, tmp_path):
    spec, calls = counting
    how = {"model": model, "energies": [spec], **QUICK, "chains": 2, "steps": 150, "commit_every": 100}

    def stop() -> None:
        until = time.monotonic() + 300
        while not (tmp_path / "run" / "events.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.05)
        begun = len(calls.read_text().splitlines())
        while len(calls.read_text().splitlines()) < begun + 60 and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    watch = threading.Thread(target=stop)
    watch.start()
    with pytest.raises(Interrupted, match=r"stopped after \d+ of 300 steps; .*resume with the same call") as caught:
        gibbs(out=str(tmp_path / "run"), backend="ray", ray_address=cluster.have(1), **how)
    watch.join()
    assert caught.value.done % 100 > 0  # not only what was due
    gibbs(out=str(tmp_path / "run"), **how)
    gibbs(out=str(tmp_path / "whole"), **how)
    assert samples(tmp_path / "run") == samples(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_errors_of_a_node_are_those_of_the_run(model, cluster, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import os\n\ncalls = []\n\n\ndef mine(texts):\n"
        "    calls.append(texts)\n"
        f"    return [float('nan') if os.getpid() != {os.getpid()} and len(calls) > 60 else 0.0] * len(texts)\n"
    )
    how = {
        "model": model,
        "energies": [f"{path}:mine"],
        "backend": "ray",
        "ray_address": cluster.have(1),
        **QUICK,
        "steps": 80,
    }
    with pytest.raises(McmcTextError, match=r"energy 'mine' .*at step \d+.*failed\.jsonl'$") as caught:
        gibbs(out=str(tmp_path / "run"), **how)
    assert str(tmp_path / "run" / "failed.jsonl") in str(caught.value)
    assert (tmp_path / "run" / "failed.jsonl").read_text().startswith('{"text": ')
    assert not (tmp_path / "run" / "samples.jsonl").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nodes_that_differ_are_named(model, cluster, tmp_path, monkeypatch):
    here = ray_cluster.facts_here()
    monkeypatch.setattr(ray_cluster, "facts_here", lambda: {**here, "torch": "1.0"})
    address = cluster.have(1)
    with pytest.raises(
        InvalidInput, match=r"node [\d.]+ \(\w{8}\) of the Ray cluster has torch .*, and this process 1\.0"
    ):
        gibbs(model=model, out=str(tmp_path / "run"), backend="ray", ray_address=address, **QUICK)
    monkeypatch.undo()


def test_an_address_that_does_not_answer_is_told_in_seconds(mcmc_text):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        words = ("gibbs", "--backend", "ray", "--ray-address", f"127.0.0.1:{port}")
        refused = mcmc_text(*words)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
        assert f"the Ray cluster 127.0.0.1:{port} does not answer (Connection refused)" in refused.stderr
        other.listen()

        def greet() -> None:
            with other.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=greet, daemon=True).start()
        assert "what listens there is something else" in mcmc_text(*words).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ray-address", "auto"), "--ray-address is for --backend ray; give that too"),
        (("--backend", "ray", "--ray-address", "nowhere"), "--ray-address is 'nowhere'; give HOST:PORT"),
        (("--backend", "ray", "--ray-address", "::1:99999999"), "does not answer"),
    ],
)
def test_what_cannot_be_is_refused(mcmc_text, words, told):
    result = mcmc_text("gibbs", *words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert told in result.stderr


def test_ray_that_is_not_installed_is_told(mcmc_text, monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    result = mcmc_text("gibbs", "--backend", "ray")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "--backend ray needs Ray; install it: pip install 'mcmc-text[distributed]'" in result.stderr
