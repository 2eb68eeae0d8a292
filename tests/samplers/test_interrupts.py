"""SIGINT and SIGTERM: the step is finished and kept, a second one stops at once, and nothing of ours stays behind."""

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from samplers import Interrupted, sample
from samplers.run.signals import stop_signals
from tests.samplers.doubles import KERNELS, Watched, climb, starts, tilt
from tests.samplers.resuming import signature, stop_at

SIGNALS = (signal.SIGINT, signal.SIGTERM)
numbers = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture(autouse=True)
def _handlers_stay():
    before = handlers()
    yield
    assert handlers() == before


CHILD = """
import sys
from samplers import Interrupted, sample
from tests.samplers.doubles import KERNELS, Watched, starts, tilt

def wait():
    print("scores", flush=True)
    sys.stdin.readline()

try:
    sample(KERNELS["pseudo-gibbs"](), Watched(tilt, wait), starts(4), steps=50, run_dir=sys.argv[1])
except Interrupted as stopped:
    print("stopped", stopped.signal, stopped.done, stopped.folder)
"""


class Child:
    """A run in another process, which waits at each call of its energy: at the start, and once a step."""

    def __init__(self, folder, steps):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(steps):
            self.waits()
            self.go_on()
        self.waits()

    def waits(self):
        assert self.process.stdout.readline() == "scores\n"

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait_for_handler(self):
        """Until the first signal was taken, so that SIGTERM does again what it does by default."""
        status = Path(f"/proc/{self.process.pid}/status")
        while int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1:
            time.sleep(0.01)

    def end(self):
        """Exit code, and the rest of stdout and stderr."""
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out, error


def steps_left(folder):
    """What the run that goes on does, and that it ends as the whole one."""
    steps = []
    call = {"kernel": KERNELS["pseudo-gibbs"](), "energy": Watched(tilt), "x0": starts(4), "steps": 50}
    resumed = sample(**call, run_dir=folder, observers=[lambda step, *_: steps.append(step)])
    assert signature(resumed) == signature(sample(**call))
    return steps


@numbers
def test_a_signal_in_the_middle_of_a_step_lets_it_end_and_keeps_it(number, tmp_path):
    child = Child(tmp_path, steps=7)  # the start and six steps are done, the seventh is scored
    child.process.send_signal(number)
    child.go_on()
    assert child.end() == (0, f"stopped {int(number)} 7 {tmp_path}\n", "")
    assert steps_left(tmp_path) == list(range(7, 50))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for handlers")
@numbers
def test_a_second_signal_stops_at_once(number, tmp_path):
    child = Child(tmp_path, steps=3)
    child.process.send_signal(signal.SIGINT)
    child.wait_for_handler()
    child.process.send_signal(number)
    status, out, error = child.end()
    assert status == -number
    assert out == ""
    assert ("KeyboardInterrupt" in error) == (number == signal.SIGINT)
    assert steps_left(tmp_path) == list(range(50))  # nothing was committed


def interrupting(run_dir, *, at, number=signal.SIGINT, **options):
    def interrupt(step, state, info):
        if step + 1 == at:
            signal.raise_signal(number)

    return sample(climb(), tilt, starts(4), run_dir=run_dir, observers=[interrupt], **{"steps": 6, **options})


@numbers
def test_the_error_carries_signal_folder_and_steps(number, tmp_path):
    with pytest.raises(Interrupted, match=f"stopped after 4 steps; they are kept in '{tmp_path}'") as stopped:
        interrupting(tmp_path, at=4, number=number)
    assert (stopped.value.signal, stopped.value.folder, stopped.value.done) == (number, tmp_path, 4)


def test_at_the_last_step_there_is_nothing_to_stop(tmp_path):
    trace = interrupting(tmp_path, at=6)
    assert signature(trace) == signature(sample(climb(), tilt, starts(4), steps=6))


def test_at_the_last_step_of_a_shard_the_next_one_stops(tmp_path):
    with pytest.raises(Interrupted) as stopped:
        interrupting(tmp_path, at=6, shard_size=2)
    assert stopped.value.done == 1
    assert not (tmp_path / "shards" / "00002").exists()
    seen = []
    whole = sample(climb(), tilt, starts(4), steps=6, shard_size=2)
    options = {"steps": 6, "shard_size": 2, "run_dir": tmp_path, "observers": [lambda step, *_: seen.append(step)]}
    assert signature(sample(climb(), tilt, starts(4), **options)) == signature(whole)
    assert seen == [1, 2, 3, 4, 5]


def test_without_a_folder_there_is_nothing_to_keep():
    with pytest.raises(KeyboardInterrupt):
        interrupting(None, at=3)


def test_handlers_of_a_program_are_put_back_and_called_by_a_second_signal(tmp_path):
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        ours = signal.getsignal(signal.SIGINT)
        with pytest.raises(Interrupted):
            sample(climb(), tilt, starts(4), steps=6, run_dir=tmp_path, observers=[stop_at(2), stop_at(2)])
        assert calls == [signal.SIGINT]  # the second of the two
        assert signal.getsignal(signal.SIGINT) is ours
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_fails_puts_handlers_back(tmp_path):
    def broken(x):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        raise ZeroDivisionError

    with pytest.raises(Exception, match="ZeroDivisionError"):
        sample(climb(), broken, starts(4), steps=6, run_dir=tmp_path)


def test_what_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trace = interrupting(tmp_path, at=3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert trace.draws.shape[1] == 6


def test_handlers_that_python_does_not_know_are_left_alone(monkeypatch):
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGINT else known(number))
    before = known(signal.SIGINT)
    with stop_signals() as stop:
        assert known(signal.SIGINT) is before
        signal.raise_signal(signal.SIGTERM)
        assert stop() == signal.SIGTERM


def test_outside_the_main_thread_signals_are_left_to_it(tmp_path):
    before, traces = handlers(), []

    def work():
        traces.append(sample(climb(), tilt, starts(4), steps=6, run_dir=tmp_path))
        assert handlers() == before

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert signature(traces[0]) == signature(sample(climb(), tilt, starts(4), steps=6))
