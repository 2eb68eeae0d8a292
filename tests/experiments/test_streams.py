"""Commands in a shell: pipes that close, disks that are full, streams that are closed, terminals that are narrow."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.entry.streams import refusal
from experiments.results.columns import columns, cut, fold
from samplers import InvalidInput

MCMC = f"{sys.executable} -m experiments.cli"
MANY = "\n".join(f"the sea {i}" for i in range(60))


@pytest.fixture
def shell(tmp_path: Path):
    """Run a line of bash in an empty folder: exit codes of its pipe, stdout, stderr."""
    (tmp_path / "texts.txt").write_text(MANY)

    def run(line: str, **variables: str) -> tuple[list[int], str, str]:
        places = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": places, **variables}
        line = line.replace("mcmc-text", MCMC) + '\ncodes=("${PIPESTATUS[@]}"); echo "${codes[@]}" >codes'
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False)
        codes = [int(code) for code in (tmp_path / "codes").read_text().split()]
        return codes, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    return run


@pytest.mark.parametrize("line", [
    "mcmc-text score texts.txt | head -1", "mcmc-text --help | true", "mcmc-text gibbs --help | true",
])  # fmt: skip
def test_a_reader_that_has_enough_ends_a_command_in_silence(shell, line):
    codes, _, err = shell(line)
    assert (codes[0], err) == (141, "")


def test_a_closed_pipe_is_no_fault_of_an_energy(shell, tmp_path):
    code = "def loud(texts):\n    print('x' * 10**5, flush=True)\n    return [0.0] * len(texts)\n"
    (tmp_path / "loud.py").write_text(code)
    line = "mcmc-text gibbs --chains 1 --steps 2 --length 2 --energy loud.py:loud"
    codes, _, err = shell(f"{line} 2>&1 | true")
    assert (codes[0], err) == (141, "")


@pytest.mark.parametrize(("line", "told"), [
    ("mcmc-text --help > /dev/full", "No space left on device"),
    ("mcmc-text models > /dev/full", "No space left on device"),
    ("mcmc-text models >&-", "Bad file descriptor"),
    ("mcmc-text --version >&-", "Bad file descriptor"),
])  # fmt: skip
def test_output_that_cannot_be_written_is_one_line(shell, line, told):
    codes, _, err = shell(line)
    assert codes == [1]
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert told in err


def test_closed_streams_are_no_files_of_a_run(shell):
    """The next file that is opened would be stdin, stdout or stderr."""
    run = "mcmc-text gibbs --chains 1 --steps 2 --length 2 --quiet --out run"
    codes, out, err = shell(f"{run} <&- >&- 2>&-")
    assert (codes, out, err) == ([0], "", "")
    assert shell("mcmc-text nosuch >&- 2>&-")[0] == [2]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_every_encoding_can_print_every_text(shell, tmp_path, encoding):
    text = "Café — 東京 \U0001f600"
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    codes, _, err = shell("mcmc-text score one.txt >out", PYTHONIOENCODING=encoding)
    assert (codes, err) == ([0], "")
    written = (tmp_path / "out").read_bytes().decode("latin-1" if encoding == "latin-1" else "utf-8")
    assert json.loads(written)["text"] == text


def test_only_a_terminal_has_a_width(shell, tmp_path):
    run = [*MCMC.split(), "gibbs", "--chains", "1", "--steps", "2", "--length", "20:40", "--scorer", "none"]
    environment = {**os.environ, "COLUMNS": "60", "PYTHONPATH": str(Path(__file__).parents[2])}
    master, slave = pty.openpty()
    subprocess.run(run, cwd=tmp_path, env=environment, stdout=slave, stderr=subprocess.DEVNULL, check=True)
    os.close(slave)
    shown = os.read(master, 2**16).decode()
    os.close(master)
    assert "…" in shown.splitlines()[1]
    assert max(map(len, shown.splitlines()[:2])) <= 60
    piped = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert "…" not in piped
    assert len(piped.splitlines()[1]) > 60


def test_wide_characters_take_two_columns():
    assert [columns(text) for text in ("abc", "日本語", "é", "e\u0301", "\U0001f600")] == [3, 6, 1, 1, 2]
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語です", None) == "日本語です"
    assert fold("ab 日本 cd", 5) == ["ab", "日本", "cd"]
    assert fold("ab 日本 cd", 7) == ["ab 日本", "cd"]
    assert fold("日本語", 4) == ["日本", "語"]
    assert fold("", 4) == [""]


@pytest.mark.parametrize(("error", "told"), [
    (OSError(errno.EMFILE, "Too many open files", "x"), "the system refused (Too many open files: 'x'); raise the"),
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "No usable temporary"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    (RuntimeError("can't start new thread"), "ulimit -u"),
    (ImportError("libx.so: failed to map segment from shared object"), "ulimit -v"),
])  # fmt: skip
def test_what_the_system_refuses_is_one_line(error, told):
    assert told in refusal(error)


@pytest.mark.parametrize("error", [RuntimeError("other"), ImportError("No module named 'x'"), InvalidInput("x")])
def test_other_errors_are_none_of_the_systems(error):
    assert refusal(error) is None
