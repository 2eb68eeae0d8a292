"""``mcmc-text run FILE.yaml``: what a run file may say, where it is wrong, what repeats a run, and sweeps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from experiments.gibbs import gibbs
from experiments.runs.repeat_file import yaml_text

QUICK = "experiment: gibbs\nscorer: none\nchains: 2\nsteps: 4\nlength: 4:5\n"
LINE = "'bad.yaml', line"


def test_a_run_and_the_file_in_its_folder_draw_the_same(mcmc_text):
    Path("mine.yaml").write_text(QUICK + "forbid: [no, 'on']  # words, not truth values\nout: first\n")
    assert mcmc_text("run", "mine.yaml", "--quiet", "--seed", 7).exit_code == 0
    repeated = yaml.safe_load(Path("first/run.yaml").read_text())
    assert (repeated["experiment"], repeated["seed"], repeated["length"]) == ("gibbs", 7, "4:5")
    assert (repeated["forbid"], "out" in repeated) == (["no", "on"], False)
    assert mcmc_text("run", "first/run.yaml", "--quiet", "--out", "again").exit_code == 0
    for name in ("samples.jsonl", "run.yaml"):
        assert Path("first", name).read_bytes() == Path("again", name).read_bytes()
    gibbs(scorer="none", chains=2, steps=4, length=(4, 5), forbid=["no", "on"], seed=7, out="python")
    assert Path("first/samples.jsonl").read_bytes() == Path("python/samples.jsonl").read_bytes()
    toml = 'experiment = "gibbs"\nscorer = "none"\nchains = 2\nsteps = 4\nlength = "4:5"\nseed = 7\n'
    Path("mine.toml").write_text(toml + 'forbid = ["no", "on"]\n')
    assert mcmc_text("run", "mine.toml", "--quiet", "--out", "toml").exit_code == 0
    assert Path("first/samples.jsonl").read_bytes() == Path("toml/samples.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("- gibbs\n", f"{LINE} 1: is no mapping"),
        ("chains: 4\n", f"{LINE} 1: names no experiment"),
        ("experiment: gibs\n", f"{LINE} 1: there is no experiment 'gibs'; did you mean 'gibbs'?"),
        ("chains: 2\nexperiment: gone.py\n", f"{LINE} 2: FILE: there is no file 'gone.py'"),
        ("experiment: score\n", f"{LINE} 1: 'score' is a command and no experiment"),
        ("experiment: [gibbs, keywords]\n", f"{LINE} 1: 'experiment' is one name"),
        ("experiment: gibbs\n\nchain: 4\n", f"{LINE} 3: 'gibbs' has no option 'chain'; did you mean 'chains'?"),
        ("experiment: gibbs\nshard_size: 4\n", f"{LINE} 2: 'gibbs' has no option 'shard_size'; did you mean 'shard-"),
        ("experiment: gibbs\nresume: x\n", f"{LINE} 2: 'gibbs' has no option 'resume'"),
        ("experiment: gibbs\nchains: many\n", f"{LINE} 2: chains: 'many' is not a valid integer"),
        ("experiment: gibbs\nchains: 0\n", f"{LINE} 2: chains: 0 is not in the range"),
        ("experiment: gibbs\nsteps: 10\nwarmup: 10\n", f"{LINE} 3: --warmup is 10 of 10"),
        ("experiment: gibbs\ntemperature: 0\n", f"{LINE} 2: --temperature is 0.0"),
        ("experiment: gibbs\nenergy:\n  - gone.py:f\n", f"{LINE} 2: --energy 'gone.py:f': there is no file"),
        ("experiment: gibbs\nscan: [random,\n  sideways]\n", f"{LINE} 3: scan: 'sideways' is not one of"),
        ("experiment: gibbs\nseed: [1, 2, 1]\n", f"{LINE} 2: seed: is in the list twice: 1"),
        ("experiment: gibbs\nseed: []\n", f"{LINE} 2: 'seed' is an empty list"),
        ("experiment: gibbs\nseed: [[1, 2]]\n", f"{LINE} 2: seed: a list where one value is wanted"),
        ("experiment: gibbs\nseed: 1\nout: [a, b]\n", f"{LINE} 3: 'out' is one folder"),
        ("experiment: compare\nwords: sea\nseed: [1, 2]\n", f"{LINE} 3: 'compare' prints a table of its own"),
        ("experiment: keywords\nwords: [night, '  ']\nany-order: perhaps\n", f"{LINE} 3: any-order: 'perhaps' is not"),
        ("experiment: gibbs\nseed: 1\nseed: 2\n", f"{LINE} 3: 'seed' is given again after line 2"),
        ("experiment: gibbs\nwarmup: 1\nburn-in: 2\n", f"{LINE} 3: 'burn-in' says what line 2 says"),
        ("experiment: gibbs\nseed: {a: 1}\n", f"{LINE} 2: a mapping is no value"),
        ("experiment: gibbs\nseed: !!python/object/apply:os.getpid []\n", f"{LINE} 2: the tag !!python"),
        ("experiment: gibbs\nseed: [1\n", "no YAML: expected ',' or ']'"),
        ("experiment: gibbs\ninit: 'a\\\n\0'\n", "no YAML: "),
        ("experiment: keywords\n", "'bad.yaml'"),
        ("[" * 2_000, "no YAML"),
        ("experiment: gibbs\nseed: [" + ", ".join(map(str, range(200))) + "]\nchains: &a [" + ", ".join(
            map(str, range(1, 200))) + "]\n", f"{LINE} 3: the lists make more than 10,000 runs"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_line(mcmc_text, monkeypatch, text, problem):
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    Path("bad.yaml").write_text(text)
    result = mcmc_text("run", "bad.yaml")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1), result.stderr
    assert problem in result.stderr or text == "experiment: keywords\n"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("experiment = \"gibbs\"\ninit = '''\nchain = 4\n'''\nchain = 4\n", "line 5: 'gibbs' has no option 'chain'"),
        ('experiment = "gibbs"\n[chains]\na = 1\n', "line 2: 'chains' is a table"),
        ('experiment = "gibbs"\nseed = 1979-05-27\n', "line 2: 'seed' is a date"),
        ('experiment = "gibbs"\nseed = \n', "no TOML: Invalid value (at line 2"),
        ('experiment = "gibbs"\nsteps = 10\nwarmup = 10\n', "line 3: --warmup is 10 of 10"),
    ],
)
def test_toml_likewise(mcmc_text, text, problem):
    Path("bad.toml").write_text(text)
    result = mcmc_text("run", "bad.toml")
    assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr


def test_other_files_and_options(mcmc_text, tmp_path):
    Path("mine.yaml").write_text(QUICK)
    Path("bytes.yaml").write_bytes(b"experiment: gibbs\n\xff: 1\n")
    Path("run").mkdir()
    Path("run/run.yaml").write_text(QUICK)
    for line, problem in [
        (["gone.yaml"], "cannot be read (No such file"),
        (["bytes.yaml"], "line 2: byte 0xff is no UTF-8"),
        (["mine.txt"], "is no Python, YAML or TOML file"),
        (["run"], "did you mean 'run/run.yaml'?"),
        (["mine.yaml", "--resume", "run"], "No such option"),
        (["mine.yaml", "--chains", "0"], "--chains"),
    ]:
        result = mcmc_text("run", *line)
        assert (result.exit_code, problem.lower() in result.stderr.lower()) == (2, True), result.stderr
    assert "--chains" in mcmc_text("run", "mine.yaml", "--help").stdout


SWEEP = "experiment: gibbs\nscorer: none\nchains: 2\nlength: 4\nsteps: 4\nseed: [1, 2]\nenergy: own.py:{name}\n"


def test_a_sweep_makes_a_run_for_each_value_once(mcmc_text, monkeypatch):
    Path("own.py").write_text("def few(texts):\n    return [0.0 for text in texts]\n")
    Path("sweep.yaml").write_text(SWEEP.format(name="few"))
    line = ["run", "sweep.yaml", "--out", "all"]
    first = mcmc_text(*line)
    assert first.exit_code == 0, first.stderr
    assert [row.split()[0] for row in first.stdout.splitlines()[:3]] == ["seed", "1", "2"]
    assert first.stdout.splitlines()[0].split() == ["seed", "nats", "ESS", "R-hat", "seconds"]
    assert {path.name for path in Path("all").iterdir()} == {"run.yaml", "table.csv", "seed=1", "seed=2"}
    kept = {path: path.stat().st_mtime_ns for path in Path("all").glob("*/*")}
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    again = mcmc_text(*line)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert mcmc_text("run", "all/run.yaml", "--out", "all").stdout == first.stdout
    assert kept == {path: path.stat().st_mtime_ns for path in Path("all").glob("*/*")}
    rows = list(csv.DictReader(Path("all/table.csv").read_text().splitlines()))
    assert [row["folder"] for row in rows] == ["seed=1", "seed=2"]
    assert float(rows[0]["energy_mean"]) == json.loads(Path("all/seed=1/summary.json").read_text())["energy_mean"]
    assert "--seed is given" in mcmc_text(*line, "--seed", 3).stderr
    shorter = SWEEP.replace("steps: 4\n", "steps: [4, 1]\nwarmup: 2\n")
    Path("sweep.yaml").write_text(shorter.format(name="few"))
    wrong = mcmc_text("run", "sweep.yaml", "--out", "new")
    assert (wrong.exit_code, "line 6: --warmup is 2 of 1" in wrong.stderr, Path("new").exists()) == (2, True, False)
    for folder in (".", "all/seed=1"):
        assert "not of a sweep" in mcmc_text("run", "all/run.yaml", "--out", folder).stderr


def test_a_sweep_that_was_stopped_goes_on_where_it_was(mcmc_text, stop_after):
    text = "experiment: gibbs\nscorer: none\nchains: 2\nlength: 4\nsteps: 6\ncommit-every: 2\nseed: [1, 2]\n"
    Path("sweep.yaml").write_text(text)
    assert mcmc_text("run", "sweep.yaml", "--out", "whole").exit_code == 0
    stop_after(4)  # in the middle of the second run
    stopped = mcmc_text("run", "sweep.yaml", "--out", "parts")
    assert stopped.exit_code == 130
    assert "go on with: mcmc-text run sweep.yaml --out parts" in stopped.stderr
    done = Path("parts/seed=1/samples.jsonl").stat().st_mtime_ns
    assert mcmc_text("run", "sweep.yaml", "--out", "parts").exit_code == 0
    assert Path("parts/seed=1/samples.jsonl").stat().st_mtime_ns == done
    events = [json.loads(line)["event"] for line in Path("parts/seed=2/events.jsonl").read_text().splitlines()]
    assert events == ["started", "stopped", "resumed", "finished"]
    for seed in ("seed=1", "seed=2"):
        whole, parts = (Path(where, seed, "samples.jsonl").read_bytes() for where in ("whole", "parts"))
        assert whole == parts


def test_a_run_that_fails_has_its_row_and_the_others_are_made(mcmc_text, monkeypatch):
    Path("own.py").write_text(
        "def bad(texts):\n    raise ValueError('\\x1b[31m')\n\ndef good(texts):\n    return [0.0] * len(texts)\n"
    )
    Path("sweep.yaml").write_text(SWEEP.format(name="")[: -len("seed: [1, 2]\nenergy: own.py:\n")]
                                  + "energy: [[own.py:bad], [own.py:good]]\nout: all\n")  # fmt: skip
    result = mcmc_text("run", "sweep.yaml")
    assert result.exit_code == 1
    assert [row.split()[:2][-1] == "-" for row in result.stdout.splitlines()[1:3]] == [True, False]
    assert "raised ValueError" in result.stderr
    assert "\x1b" not in result.stderr + result.stdout + Path("all/table.csv").read_text()


TEXTS = ["night", "6:12", "no", "\x1b[31m", "\u202eabc", "a\nb", "你好 🙂", "", " ", "- x: #", "null"]


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_read_as_it_was_written(text):
    written = yaml_text({"init": text})
    assert yaml.safe_load(written) == {"init": text}
    assert not {"\x1b", "\u202e"} & set(written)
