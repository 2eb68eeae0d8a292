"""What a node of a Ray cluster does with a share: it has a folder of its own, and sends every commit to the driver."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.executors.share import Outcome, ShareTask, do_share, last_words

__all__ = ["FAILED", "FINGERPRINT", "Parcel", "check_node", "facts_here", "run_on_node"]

LIBRARIES = ("mcmc-text", "torch", "transformers", "tokenizers", "numpy", "ray")
OURS = ("samplers", "lm_adapters", "experiments")
FINGERPRINT = "fingerprint.json"
FAILED = "failed.jsonl"


@dataclass(frozen=True)
class Parcel:
    """A share as it is sent: the ``files`` that its run has by their names in ``out``, and the driver's folder."""

    task: ShareTask
    files: Mapping[str, bytes]
    out: str
    working_folder: str


def run_on_node(parcel: Parcel, mailbox: Any, sender: tuple[int, int]) -> tuple[Outcome, bytes]:
    """Do the share; each commit goes to ``mailbox`` as ``(sender, files)`` before the next step.

    Also returns the texts that an energy could not score, as ``failed.jsonl`` has them.
    """
    said = io.StringIO()
    with _unpacked(parcel) as name, redirect_stderr(said):
        folder = Path(name)

        def committed(paths: list[Path]) -> None:
            sent = [folder / FINGERPRINT, *paths]
            mailbox.put((sender, {str(path.relative_to(folder)): path.read_bytes() for path in sent}))

        arguments = {**parcel.task.arguments, "out": name}
        outcome = do_share(replace(parcel.task, arguments=arguments), committed)
        failed = folder / FAILED
        lines = failed.read_bytes() if failed.exists() else b""
    error = outcome.error.replace(name, parcel.out)
    return replace(outcome, error=error, said=last_words(said.getvalue().replace(name, parcel.out))), lines


def check_node(parcel: Parcel) -> tuple[dict[str, str], str]:
    """The facts of this node, and in one line why it cannot do a share: another model, a file that is not there."""
    said = io.StringIO()
    try:
        with _unpacked(parcel) as name, redirect_stderr(said):
            arguments = {**parcel.task.arguments, "out": name}
            outcome = do_share(replace(parcel.task, arguments=arguments, only_begin=True))
            lines = said.getvalue().strip().splitlines()
            problem = outcome.error.replace(name, parcel.out) or (lines[-1] if outcome.end and lines else outcome.end)
    except Exception as error:
        problem = traceback.format_exception_only(error)[-1].strip()
    return facts_here(), problem


def facts_here() -> dict[str, str]:
    """Versions, and a digest of our own code, which must be the same on all nodes."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted(path for package in OURS for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    versions = {name: version(name) for name in LIBRARIES}
    return {
        "Python": platform.python_version(),
        **versions,
        "processor": platform.machine(),
        "code of mcmc-text": digest.hexdigest()[:12],
    }


def _unpacked(parcel: Parcel) -> tempfile.TemporaryDirectory[str]:
    """A folder with the files of the run. Names of files are read from where the driver reads them, if it is there."""
    if os.path.isdir(parcel.working_folder):
        os.chdir(parcel.working_folder)
    folder = tempfile.TemporaryDirectory(prefix="mcmc-text-")
    for name, content in parcel.files.items():
        path = Path(folder.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
