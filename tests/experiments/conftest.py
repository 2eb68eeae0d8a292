from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from experiments.cli import main
from lm_adapters import MaskedLM
from samplers.storage.shard_store import ShardStore


@pytest.fixture(scope="session")
def embedded() -> MaskedLM:
    return MaskedLM.from_pretrained("masked-en")


@pytest.fixture
def mcmc_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **how: CliRunner().invoke(main, [str(argument) for argument in arguments], **how)


@pytest.fixture
def fresh_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a process of its own."""
    return lambda code: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a signal come right after so many commits."""

    def arm(commits: int, number: int = signal.SIGINT) -> None:
        commit, done = ShardStore.commit, []

        def counted(*arguments: object) -> None:
            commit(*arguments)
            done.append(1)
            if len(done) == commits:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(ShardStore, "commit", counted)

    return arm
