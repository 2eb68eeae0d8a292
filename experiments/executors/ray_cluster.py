"""Shares on a Ray cluster without a shared file system: the driver has the run's folder, nodes send their commits."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.declaration.wording import argument
from experiments.executors.ray_node import FAILED, FINGERPRINT, Parcel, check_node, facts_here, run_on_node
from experiments.executors.share import Outcome, ShareTask

__all__ = ["RayCluster", "check_address"]

ANSWER = 5.0  # seconds in which an address must answer
# How HTTP/2, which Ray speaks, begins (RFC 9113, 3.4); Ray itself waits for minutes where nobody answers.
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
WAITING = 64  # commits that may wait for the driver
DEATHS = 3  # of processes that committed nothing new before they died, after which a share is given up
SENT = re.compile(rf"shards/(\d{{5}})/(\d{{8}}|commit)\.safetensors|{re.escape(FINGERPRINT)}")


def check_address(address: str | None) -> None:
    """Raise ``InvalidInput`` where Ray is not installed, or nothing answers at ``HOST:PORT`` or ``ray://HOST:PORT``."""
    from samplers import InvalidInput

    if address not in (None, "auto"):
        _check_answer(address)
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput(f"{argument('backend')} ray needs Ray; install it: pip install 'mcmc-text[distributed]'")


def _check_answer(address: str) -> None:
    from samplers import InvalidInput

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput(f"{argument('ray_address')} is {address!r}; give HOST:PORT, ray://HOST:PORT, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER) as stream:
            stream.sendall(HELLO)
            answer = stream.recv(9)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InvalidInput(_silent(address, getattr(error, "strerror", None) or str(error))) from error
    if answer[3:4] != SETTINGS[3:4]:
        raise InvalidInput(_silent(address, "what listens there is something else"))


class RayCluster:
    """``started`` as every ``Executor``. One core for each share, and one GPU where ``device`` is one.

    ``address`` is ``HOST:PORT`` or ``ray://HOST:PORT`` of a cluster, ``auto`` for the one of this machine; ``None``
    starts one on this machine where there is none.
    """

    noun = "share"

    def __init__(self, address: str | None, device: str) -> None:
        self._ray: Any = importlib.import_module("ray")
        self._address, self._kind = address, "GPU" if device != "cpu" else "CPU"

    def places(self, wanted: int | None) -> int:
        """All that the cluster has, where no number is ``wanted``. Raises ``InvalidInput`` where it has none."""
        from samplers import InvalidInput

        self._connect()
        count = int(self._ray.cluster_resources().get(self._kind, 0))
        if not count:
            raise InvalidInput(f"the Ray cluster has no {self._kind}; add nodes that have, or choose another device")
        return wanted or count

    def _connect(self) -> None:
        from samplers import InvalidInput

        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
        try:
            self._ray.init(self._address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except Exception as error:
            raise InvalidInput(_silent(self._address or "of this machine", str(error).splitlines()[0])) from error

    @contextmanager
    def started(self, folder: Path, lock: int | None, tasks: list[ShareTask]) -> Iterator[_RayShares]:
        try:
            self._check_nodes(_parcel(folder, tasks[0], shards=False))
            queue = importlib.import_module("ray.util.queue")
            here = self._on(self._ray.get_runtime_context().get_node_id())
            mailbox = queue.Queue(WAITING, actor_options={"num_cpus": 0, "scheduling_strategy": here})
            shares = _RayShares(self._ray, mailbox, self._options(), folder, tasks)
            try:
                yield shares
            finally:
                shares.cancel(force=True)
                mailbox.shutdown(force=True)
        finally:
            self._ray.shutdown()

    def _options(self) -> dict[str, Any]:
        gpus = {"num_gpus": 1} if self._kind == "GPU" else {}
        return {"num_cpus": 1, "max_retries": 0, "scheduling_strategy": "SPREAD", **gpus}

    def _on(self, node: str) -> Any:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        return strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    def _check_nodes(self, parcel: Parcel) -> None:
        """Raise ``InvalidInput`` for the first node that has other versions, another model, or lacks a file."""
        from samplers import InvalidInput

        nodes = [each for each in self._ray.nodes() if each["Alive"] and each["Resources"].get(self._kind)]
        options = {**self._options(), "num_cpus": 0}
        asked = []
        for node in nodes:
            check = self._ray.remote(check_node).options(**{**options, "scheduling_strategy": self._on(node["NodeID"])})
            asked.append((f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})", check.remote(parcel)))
        here = facts_here()
        for name, answer in asked:
            try:
                there, problem = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                said = str(error).strip().splitlines()[-1]
                raise InvalidInput(f"{name} of the Ray cluster cannot begin: {said}") from error
            for what in (what for what in here if here[what] != there.get(what)):
                raise InvalidInput(
                    f"{name} of the Ray cluster has {what} {there.get(what)}, and this process {here[what]}; all nodes "
                    "must have the same"
                )
            if problem:
                raise InvalidInput(f"{name} of the Ray cluster cannot do its share: {problem}")


class _RayShares:
    """Shares under way. One whose node or process died begins again from its last commit, where there is room."""

    def __init__(self, ray: Any, mailbox: Any, options: dict[str, Any], folder: Path, tasks: list[ShareTask]) -> None:
        self._ray, self._mailbox, self._folder, self._tasks = ray, mailbox, folder, tasks
        self._remote = ray.remote(run_on_node).options(**options)
        self._attempts = [0] * len(tasks)
        self._deaths = [0] * len(tasks)
        self._outcomes: dict[int, Outcome] = {}
        self._running: dict[Any, int] = {}
        self._stopped = False
        for index in range(len(tasks)):
            self._submit(index)

    def _submit(self, index: int) -> None:
        self._attempts[index] += 1
        parcel = _parcel(self._folder, self._tasks[index])
        self._running[self._remote.remote(parcel, self._mailbox, (index, self._attempts[index]))] = index

    def wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            ended, _ = self._ray.wait([*self._running], num_returns=len(self._running), timeout=0)
            self._keep_commits()  # what a share has sent before it ended is there by now
            for each in ended:
                self._ended(self._running.pop(each), each)
            if not self._running:
                return True
            if time.monotonic() > until:
                return False
            self._ray.wait([*self._running], num_returns=1, timeout=min(0.05, seconds))

    def _ended(self, index: int, answer: Any) -> None:
        errors = self._ray.exceptions
        try:
            outcome, failed = self._ray.get(answer)
        except errors.TaskCancelledError:
            outcome, failed = Outcome(), b""
        except (errors.WorkerCrashedError, errors.ObjectLostError, errors.NodeDiedError, errors.RaySystemError,
                errors.OutOfMemoryError) as error:  # fmt: skip
            self._deaths[index] += 1
            if not self._stopped and self._deaths[index] < DEATHS:
                self._submit(index)
                return
            said = str(error).strip().splitlines()[0]
            outcome, failed = Outcome(end=f"died {self._deaths[index]} times ({said})"), b""
        if failed:
            with (self._folder / FAILED).open("ab") as lines:
                lines.write(failed)
        self._outcomes[index] = outcome

    def _keep_commits(self) -> None:
        """Write what has come, of the attempts under way only: one whose node was given up may go on for a while."""
        empty = importlib.import_module("ray.util.queue").Empty
        with suppress(empty):
            while True:
                (index, attempt), files = self._mailbox.get_nowait()
                if attempt == self._attempts[index]:
                    self._deaths[index] = 0
                    self._write(index, files)

    def _write(self, index: int, files: dict[str, bytes]) -> None:
        from samplers import McmcTextError
        from samplers.storage import exists, write_atomically

        for name, content in files.items():
            path = self._folder / name
            if not (match := SENT.fullmatch(name)):
                raise McmcTextError(f"a node of the Ray cluster sent a file {name!r}, which is none of a run")
            if match[1] is None and exists(path):
                if path.read_bytes() != content:
                    raise McmcTextError(
                        "nodes of the Ray cluster draw from laws that differ, though their models and versions are the "
                        "same; are their files of energies the same?"
                    )
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)

    def stop(self, number: int) -> None:
        self._stopped = True
        self.cancel(force=False)

    def cancel(self, *, force: bool) -> None:
        for each in self._running:
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(each, force=force)

    def outcome(self, index: int) -> Outcome:
        return self._outcomes[index]


def _parcel(folder: Path, task: ShareTask, *, shards: bool = True) -> Parcel:
    """With what the folder holds of the run and, for a share, of its shards."""
    files: dict[str, bytes] = defaultdict(bytes)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".safetensors") and not path.name.startswith("."):
            files[path.name] = path.read_bytes()
    for path in sorted(folder.glob("shards/[0-9]*/*.safetensors")) if shards else ():
        if int(path.parent.name) % task.apart == task.first and not path.name.startswith("."):
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return Parcel(task, dict(files), str(folder), os.getcwd())


def _silent(address: str, why: str) -> str:
    return f"the Ray cluster {address} does not answer ({why}); start it with ray start --head, or correct the address"
