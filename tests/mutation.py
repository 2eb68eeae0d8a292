"""Which faults the tests of ``samplers`` would not notice: ``python -m tests.mutation [FILES] [--count N] [--seed N]``.

For each file ``count`` of its mutations (see ``mutating``), drawn with ``seed``, are tried one by one on a copy of the
checkout with the tests of that file. A mutation that passes them all survives, and is printed; those that
``mutation_survivors.md`` explains are only counted. Exit code 1 if an unexplained one survives.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutating import mutations

ROOT = Path(__file__).parents[1]
MEMORY = 2**33
EXPLAINED = Path(__file__).with_name("mutation_survivors.md")
PRELOADED = ("torch", "scipy.stats", "arviz_base", "arviz_stats.base", "xarray", "pytest")

BATTERY = "tests/samplers/test_battery.py"
TESTS: dict[str, list[list[str]]] = {
    "samplers/energy/terms.py": [
        ["test_energies.py", "test_candidates.py", "test_early_rejection.py", "test_errors.py", "test_bad_input.py"],
        ["test_nan_policy.py", "test_arguments_protected.py", "test_metropolis.py", "test_driver.py"],
    ],
    "samplers/importance.py": [["test_importance.py"], ["test_errors.py", "test_bad_input.py"]],
    "samplers/kernels/gibbs.py": [
        ["test_relabelling.py", "test_errors.py", "test_candidates.py", "test_arguments_protected.py"],
        [BATTERY, "-k", "Gibbs and (holes or turn or row or true) and (T0 or T2 or T3 or T4b)"],
    ],
    "samplers/kernels/metropolis.py": [
        ["test_metropolis.py", "test_early_rejection.py", "test_errors.py", "test_kept_draws.py"],
        ["test_arguments_protected.py", "test_candidates.py"],
        [BATTERY, "-k", "(MH and (table or holes) or Mixture and memory) and (T0 or T2 or T3 or T11)"],
    ],
    "samplers/rejection.py": [["test_rejection.py"], ["test_errors.py", "test_bad_input.py"]],
    "samplers/run/diagnostics.py": [["test_diagnostics.py"]],
    "samplers/run/trace.py": [["test_trace.py"], ["test_driver.py"]],
}
"""For each file the arguments of its runs of pytest, the quickest first."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Look for faults that no test sees.")
    parser.add_argument("files", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)} (default: all)")
    parser.add_argument("--count", type=int, default=40, help="mutations of each file (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of mutations (default 0)")
    parser.add_argument("--patience", type=float, default=5, help="times the usual time of the tests (default 5)")
    options = parser.parse_args(arguments)
    for module in PRELOADED:  # once, and not again in each of the processes that are forked below
        importlib.import_module(module)
    explained, unexplained = EXPLAINED.read_text() if EXPLAINED.exists() else "", 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__", "*.safetensors"))
        for file in options.files:
            unexplained += _tried(copy, file, options, explained)
    return 1 if unexplained else 0


def _tried(copy: Path, file: str, options: argparse.Namespace, explained: str) -> int:
    source = (ROOT / file).read_text()
    begun = time.monotonic()
    if not _passes(copy, file, math.inf):
        raise SystemExit(f"the tests of {file} fail without any mutation")
    timeout = options.patience * (time.monotonic() - begun)
    every = mutations(source)
    drawn = random.Random(options.seed).sample(every, min(options.count, len(every)))
    survivors, known = 0, 0
    for mutation in sorted(drawn, key=lambda mutation: mutation.start):
        (copy / file).write_text(mutation.applied(source))
        if _passes(copy, file, timeout):
            old, new = mutation.lines(source)
            if f"- {old}\n+ {new}\n" in explained:
                known += 1
            else:
                survivors += 1
                print(f"{file}:{mutation.line}\n- {old}\n+ {new}\n", flush=True)
    (copy / file).write_text(source)
    total = f"{len(drawn)} of {len(every)} mutations"
    print(f"{file}: {total}, {survivors} survive unexplained, {known} explained\n", flush=True)
    return survivors


def _passes(copy: Path, file: str, timeout: float) -> bool:
    """Whether all runs of pytest pass within the time; each is a forked process."""
    end = time.monotonic() + timeout
    for run in TESTS[file]:
        paths = [f"tests/samplers/{part}" if part.startswith("test_") else part for part in run]
        process = os.fork()
        if not process:
            _run_tests(copy, paths)
        while not (status := os.waitpid(process, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                return False
            time.sleep(0.05)
        if status[1] != 0:
            return False
    return True


def _run_tests(copy: Path, paths: list[str]) -> None:
    """In a forked process: run the tests of the copy and exit with their code."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # a loop that no longer ends may fill it
    os.chdir(copy)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.dont_write_bytecode = True  # two mutations within one second have the same time stamp
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(copy))
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "samplers", "lm_adapters")]:
        del sys.modules[name]
    import pytest

    code = 1
    try:
        code = int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *paths]))
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
