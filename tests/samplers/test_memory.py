"""With a folder, memory does not grow with the steps: draws go to files as they come."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, re, sys
from pathlib import Path
import torch
from samplers import MetropolisHastings, RunStore, sample
from tests.samplers.doubles import Walk

torch.set_num_threads(1)
os.fsync = lambda descriptor: None
steps, folder = int(sys.argv[1]), sys.argv[2:]
peaks = []

def watch(step, state, info):
    if step + 1 == steps:  # the trace, which holds every draw, is read after this
        # Of this program alone: what getrusage tells may be the peak of the one that started it.
        peaks.append(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

def run(store):
    x0 = torch.zeros(4, 4096, dtype=torch.float64)
    sample(MetropolisHastings(Walk(0.1)), lambda x: x[:, 0], x0, steps=steps, run_dir=store, observers=[watch])

if folder:
    with RunStore(folder[0], every=10) as store:
        run(store)
else:
    run(None)
print(peaks[0])
"""


def peak(steps, *folder):
    """Of a run whose every draw is 128 KiB, before the trace is read."""
    return int(
        subprocess.run(
            [sys.executable, "-c", CHILD, str(steps), *map(str, folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for the peak")
def test_ten_times_the_steps_take_no_more_memory(tmp_path):
    short = peak(60, tmp_path / "short")
    assert peak(600, tmp_path / "long") < 1.05 * short
    assert peak(600) > 1.15 * short  # it would show
