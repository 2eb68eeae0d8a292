"""``--resume DIR`` on the command line; the folder is not trusted."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import click
import pytest

from experiments.cli import main
from experiments.declaration.resume_option import new_folder
from experiments.entry.experiment import experiment_of
from experiments.gibbs import gibbs
from experiments.runs.resume_checks import how_to_resume

TINY = ("--chains", 2, "--steps", 6, "--warmup", 1, "--thin", 1, "--length", "3:4", "--commit-every", 2)


@pytest.fixture
def energy(tmp_path) -> str:
    """An energy of the user's own that leaves a mark whenever its file is run."""
    path = tmp_path / "mine file.py"
    path.write_text(
        "from pathlib import Path\n"
        "Path(__file__).with_suffix('.ran').touch()\n\n\n"
        "def short(texts):\n    return [float(len(text)) for text in texts]\n"
    )
    return "mine file.py:short"


@pytest.fixture
def stored(tmp_path):
    """Make a folder whose run was given all this."""

    def write(folder: str = "run", **fields: object) -> Path:
        path = tmp_path / folder
        path.mkdir()
        (path / "mcmc-text.json").write_text('{"format": "mcmc-text run", "version": 2}')
        (path / "config.json").write_text(json.dumps({"experiment": "gibbs", "energy_sha256": [], **fields}))
        return path

    return write


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_run_says_how_to_go_on_and_that_goes_on(mcmc_text, stop_after, tmp_path, energy, number, code):
    arguments = ("gibbs", *TINY, "--energy", energy)
    assert mcmc_text(*arguments, "--out", "alone").exit_code == 0
    stop_after(1, number)
    stopped = mcmc_text(*arguments, "--out", "a run")
    assert stopped.exit_code == code
    (line,) = stopped.stderr.splitlines()
    assert line == (
        "stopped after 3 of 6 steps; its draws so far are in 'a run'; resume with: "
        "mcmc-text gibbs --resume 'a run' --energy 'mine file.py:short'"
    )  # fmt: skip
    _, *way_on = shlex.split(line.partition("resume with: ")[2])
    done = mcmc_text(*way_on)
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "a run/samples.jsonl").read_bytes() == (tmp_path / "alone/samples.jsonl").read_bytes()
    again = mcmc_text(*way_on)
    assert again.exit_code == 0
    assert "finished already" in again.stdout.splitlines()[-1]
    assert mcmc_text(*way_on, "--quiet").output == ""


def test_words_and_ranges_are_resumed_and_new_options_count_more(mcmc_text, tmp_path):
    assert mcmc_text("keywords", "music", "--any-order", *TINY, "--forbid", "the", "--out", "run").exit_code == 0
    before = (tmp_path / "run/samples.jsonl").read_text()
    extended = mcmc_text("keywords", "--resume", "run", "--steps", 8)
    assert extended.exit_code == 0, extended.stderr
    after = (tmp_path / "run/samples.jsonl").read_text()
    assert set(before.splitlines()) < set(after.splitlines())
    changed = mcmc_text("keywords", "--resume", "run", "--seed", 5)
    assert changed.exit_code == 2
    assert "--seed was 0 and is now 5" in changed.stderr
    other = mcmc_text("keywords", "night", "--resume", "run")
    assert "WORD was ['music'] and is now ['night']" in other.stderr


def test_a_file_of_the_users_own_is_never_run_because_a_folder_names_it(mcmc_text, stored, tmp_path, energy):
    stored(energies=[energy], energy_sha256=["0" * 64])
    result = mcmc_text("gibbs", "--resume", "run")
    assert result.exit_code == 2
    assert "add --energy 'mine file.py:short'" in result.stderr
    assert not list(tmp_path.glob("*.ran"))


def test_code_of_a_model_is_never_trusted_because_a_folder_says_so(mcmc_text, stored, monkeypatch):
    trusted = []

    def load(*_, trust_remote_code: bool, **__):
        trusted.append(trust_remote_code)
        raise KeyboardInterrupt

    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", load)
    stored(trust_remote_code=True)
    assert mcmc_text("gibbs", "--resume", "run").exit_code == 130
    assert trusted == [False]


def test_a_folder_does_not_decide_the_number_of_processes(mcmc_text, tmp_path, monkeypatch):
    assert mcmc_text("gibbs", *TINY, "--out", "run").exit_code == 0
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"workers": null,', '"workers": 1024,'))
    monkeypatch.setattr("experiments.setup.methods.run_shares", None)
    assert mcmc_text("gibbs", "--resume", "run", "--steps", 8).exit_code == 0
    assert json.loads(config.read_text())["workers"] is None


def test_the_resume_command_has_what_a_folder_does_not_decide():
    arguments = experiment_of(gibbs).arguments
    config = {each.name: each.default for each in arguments} | {"workers": 4, "energies": ["a b.py:f"], "out": "run"}
    with click.Context(main.get_command(click.Context(main), "gibbs"), info_name="gibbs"):
        told = how_to_resume(config, arguments, "run", allow_version_change=True)
    assert told == ("resume with: mcmc-text gibbs --resume run --energy 'a b.py:f' --workers 4 --allow-version-change")


def test_two_runs_that_begin_together_have_two_folders():
    assert len({new_folder("gibbs") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"experiment": "keywords"}, "holds a run of 'keywords', not of 'gibbs'"),
        ({"experiment": ["gibbs"]}, "holds a run of ['gibbs']"),
        ({"experiment": None}, "holds a run of None"),
        ({"shell": "rm -rf"}, "a field 'shell', which 'gibbs' does not know"),
        ({"help": True}, "a field 'help'"),
        ({"resume": "../other"}, "which 'gibbs' does not know"),
        ({"as_json": "yes"}, "which 'gibbs' does not know"),
        ({"chains": -1}, "'chains' that cannot be taken"),
        ({"chains": 10**9}, "'chains' that cannot be taken"),
        ({"chains": 10**30}, "'chains' that cannot be taken"),
        ({"chains": 2.5}, "'chains' that cannot be taken"),
        ({"chains": True}, "'chains' that cannot be taken"),
        ({"chains": [3, 4]}, "'chains' that cannot be taken"),
        ({"chains": {"n": 3}}, "'chains' that cannot be taken"),
        ({"steps": "many"}, "'steps' that cannot be taken"),
        ({"steps": 10**12}, "'steps' that cannot be taken"),
        ({"length": [9, 4]}, "'length' that cannot be taken"),
        ({"length": [1, 2, 3]}, "'length' that cannot be taken"),
        ({"length": [1, "2"]}, "'length' that cannot be taken"),
        ({"length": "wide"}, "'length' that cannot be taken"),
        ({"temperature": "hot"}, "'temperature' that cannot be taken"),
        ({"scan": "sideways"}, "'scan' that cannot be taken"),
        ({"forbid": "word"}, "'forbid' that cannot be taken"),
        ({"forbid": [["word"]]}, "'forbid' that cannot be taken"),
        ({"forbid": [None]}, "'forbid' that cannot be taken"),
        ({"init": "\ud800"}, "'init' that cannot be taken"),
        ({"model": "a\0b"}, "'model' that cannot be taken"),
        ({"model": ["a", "b"]}, "'model' that cannot be taken"),
        ({"model": "../../etc/passwd"}, "no model '../../etc/passwd'"),
        ({"device": "warp9"}, "device 'warp9'"),
        ({"dtype": "int3"}, "dtype 'int3'"),
        ({"allow_version_change": True}, "which 'gibbs' does not know"),
    ],
)
def test_values_that_no_command_line_would_take_are_one_line(mcmc_text, stored, fields, told):
    stored(**fields)
    result = mcmc_text("gibbs", "--resume", "run")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert told in result.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"experiment": "gibbs"', "[" * 10**5, "\xff\xfe", "\0"])
def test_what_is_no_configuration_is_one_line(mcmc_text, stored, text):
    (stored() / "config.json").write_bytes(text.encode("latin-1"))
    result = mcmc_text("gibbs", "--resume", "run")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert "config.json" in result.stderr


def test_a_configuration_too_large_to_be_one_is_not_read(mcmc_text, stored):
    with (stored() / "config.json").open("r+b") as file:
        file.truncate(2**40)
    result = mcmc_text("gibbs", "--resume", "run")
    assert result.exit_code == 2
    assert "larger than" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--resume", "nowhere"], "'nowhere' holds no run"),
        (["--resume", "."], "'.' holds no run"),
        (["--resume", "run", "--out", "other"], "--out"),
        (["--resume"], "--resume"),
    ],
)
def test_where_there_is_nothing_to_resume_it_is_told(mcmc_text, stored, tmp_path, arguments, told):
    stored()
    result = mcmc_text("gibbs", *arguments)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert told in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_stopped_comparison_goes_on_as_a_whole(mcmc_text, stop_after):
    tiny = ("--chains", 2, "--steps", 3, "--warmup", 0, "--thin", 1, "--length", "1:3", "--commit-every", 1)
    stop_after(4)
    stopped = mcmc_text("compare", "music", *tiny, "--out", "all")
    assert stopped.exit_code == 130
    assert stopped.stderr.strip().endswith("resume with: mcmc-text compare --resume all")
    done = mcmc_text("compare", "--resume", "all", "--json")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6


def test_a_run_of_an_earlier_version_resumes_and_has_the_name_of_today(mcmc_text, tmp_path):
    """``warmup`` was called ``burn_in``; its option still is, too."""
    old = ["--burn-in" if word == "--warmup" else word for word in TINY]
    assert mcmc_text("gibbs", *old, "--out", "run").exit_code == 0
    path = tmp_path / "run/config.json"
    assert json.loads(path.read_text())["warmup"] == 1
    for line in (("--resume", "run", "--steps", 8), (*old[:2], "--steps", 8, *old[4:], "--out", "run")):
        path.write_text(path.read_text().replace('"warmup"', '"burn_in"'))
        done = mcmc_text("gibbs", *line)
        assert done.exit_code == 0, done.output
        assert "burn_in" not in path.read_text()
    path.write_text(path.read_text().replace('"warmup": 1', '"burn_in": 2'))
    changed = mcmc_text("gibbs", *old, "--steps", 8, "--out", "run")
    assert "--warmup was 2 and is now 1" in changed.stderr
    assert "--warmup, --burn-in INTEGER" in mcmc_text("gibbs", "--help").stdout
