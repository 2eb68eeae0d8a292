from __future__ import annotations

import json
import time

import pytest
import torch

from experiments.cli import main
from samplers import OutOfMemory


def test_help_is_instant_because_torch_stays_out(fresh_process):
    code = (
        "import sys, time; began = time.perf_counter()\n"
        "from experiments.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'transformers', 'numpy') if m in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    done = fresh_process(code)
    assert done.stderr.strip() == "[]", done.stderr
    assert all(name in done.stdout for name in ("gibbs", "toy", "models"))


@pytest.mark.parametrize(
    "line",
    [["models"], ["energies"], ["new-energy", "class"], ["check-energy", "gone.py:f"], ["run", "gone.yaml"],
     ["evaluate", "texts", "--help"], ["evaluate", "keywords", "--help"], ["evaluate", "truth", "--help"],
     ["score", "--help"], ["benchmark", "--help"], ["report", "--help"], ["keywords", "night", "--length", "0"],
     ["keywords"], ["keywords", "night", "--temperature", "0"], ["gibbs", "--energy", "none.py:x"],
     ["power", "x", "--alpha", "0"]],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_no_model_imports_no_torch(fresh_process, line):
    code = (
        "import sys\n"
        "from experiments.cli import main\n"
        f"try: main({line})\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'sacrebleu', 'arviz_stats') if m in sys.modules])"
    )
    done = fresh_process(code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("name", ["gibbs", "toy", "models", "train-embedded"])
def test_every_command_explains_itself(mcmc_text, name):
    result = mcmc_text(name, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name}")


def test_gibbs_says_why_it_corrects_and_what_pseudo_gibbs_lacks(mcmc_text):
    words = " ".join(mcmc_text("gibbs", "--help").stdout.split())
    assert "no known target" in words
    assert "[default: mh]" in words


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--chains", 0], "--chains"),
        (["--chains", -3], "--chains"),
        (["--steps", 0], "--steps"),
        (["--thin", 0], "--thin"),
        (["--warmup", -1], "--warmup"),
        (["--warmup", 300, "--steps", 300], "--warmup is 300 of 300"),
        (["--thin", 500, "--steps", 300], "--thin is 500"),
        (["--length", "0"], "--length"),
        (["--length", "9:4"], "--length"),
        (["--length", "six"], "--length"),
        (["--length", "500"], "--length goes to 500"),
        (["--init", ""], "--init"),
        (["--init", "   "], "--init"),
        (["--init", "<mask> is here"], "<mask>"),
        (["--init", "word " * 200], "--init has 20"),
        (["--block", 0], "--block"),
        (["--temperature", 0], "--temperature is 0"),
        (["--temperature", -1], "--temperature is -1"),
        (["--temperature", "nan"], "--temperature is nan"),
        (["--top-p", 1.5], "--top-p is 1.5"),
        (["--top-p", 0], "--top-p is 0"),
        (["--top-k", 0], "--top-k"),
        (["--model", "no/such-model"], "no model 'no/such-model'"),
        (["--device", "tpu9"], "device 'tpu9'"),
        (["--dtype", "int3"], "dtype 'int3'"),
        (["--out", "/proc/no/way"], "--out '/proc/no/way'"),
        (["--scan", "sideways"], "--scan"),
        (["--energy", "nothing"], "FILE.py:NAME"),
        (["--energy", "gone.py:f"], "no file 'gone.py'"),
        (["--correct", "none", "--energy", "mine.py:short"], "--correct mh"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(mcmc_text, tmp_path, arguments, named):
    (tmp_path / "mine.py").write_text("def short(texts):\n    return [len(text) for text in texts]\n")
    result = mcmc_text("gibbs", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["toy", "--draws", 10**12], "--draws"),
        (["train-embedded", "--threads", 10**6], "--threads"),
        (["train-embedded", "--seed", 10**30], "--seed"),
        (["benchmark", "--chains", 10**12], "--chains"),
        (["benchmark", "--length", 10**30], "--length"),
        (["benchmark", "--repeats", 10**9], "--repeats"),
        (["benchmark", "--ess", 10**12], "--ess"),
        (["benchmark", "--models", "base", "--dtype", "int3"], "dtype 'int3'"),
    ],
)
def test_more_than_a_machine_has_is_refused_in_the_other_commands_too(mcmc_text, line, named):
    result = mcmc_text(*line)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert named in result.stderr


def test_an_unknown_command_is_one_line(mcmc_text):
    result = mcmc_text("gibs")
    assert result.exit_code == 2
    assert "gibs" in result.stderr


def test_bad_input_is_told_before_a_model_is_loaded(mcmc_text, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", forbidden)
    for arguments in (["--warmup", 999], ["--temperature", 0], ["--device", "tpu9"], ["--energy", "gone.py:f"]):
        assert mcmc_text("gibbs", *arguments).exit_code == 2


def test_json_prints_samples_and_nothing_else(mcmc_text):
    result = mcmc_text("gibbs", "--chains", 2, "--steps", 6, "--warmup", 2, "--thin", 2, "--json")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["chain"], line["step"]) for line in lines] == [(0, 3), (0, 5), (1, 3), (1, 5)]
    assert set(lines[0]) == {"chain", "start", "step", "energy", "terms", "text"}


def test_quiet_prints_nothing(mcmc_text):
    result = mcmc_text("gibbs", "--chains", 1, "--steps", 3, "--warmup", 0, "--thin", 1, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_table_fits_the_terminal_and_ends_with_an_honest_line(mcmc_text, monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.results.terminal.terminal_width", lambda: 70)
    result = mcmc_text("gibbs", "--chains", 3, "--steps", 12, "--warmup", 2, "--thin", 2, "--out", "run")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert all(len(line) <= 70 for line in lines[:4])
    assert lines[-1].startswith(("R-hat ", "Convergence was not measured"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "env.json",
        "events.jsonl",
        "fingerprint.json",
        "lock",
        "mcmc-text.json",
        "models.json",
        "problem.json",
        "report.html",
        "run.yaml",
        "samples.jsonl",
        "shards",
        "starts.safetensors",
        "summary.json",
    }


def test_models_lists_the_embedded_ones(mcmc_text):
    result = mcmc_text("models")
    assert result.exit_code == 0, result.stderr
    assert "masked-en" in result.stdout


def test_module_form_works(fresh_process):
    done = fresh_process(
        "import runpy, sys; sys.argv = ['experiments', 'gibbs', '--chains', '0']\n"
        "runpy.run_module('experiments.cli', run_name='__main__')"
    )
    assert done.returncode == 2
    assert "--chains" in done.stderr


def test_ctrl_c_exits_130(monkeypatch, mcmc_text):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", interrupted)
    result = mcmc_text("gibbs")
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["lm_adapters.MaskedLM.from_pretrained", "lm_adapters.SuffixProposal.__call__"])
def test_memory_that_does_not_suffice_is_one_line(monkeypatch, mcmc_text, where, error):
    """Also where nothing can be split: while a model is loaded, or a proposal asks it."""

    def too_much(*_, **__):
        raise error

    monkeypatch.setattr(where, too_much)
    result = mcmc_text("gibbs", "--chains", 1, "--steps", 9, "--warmup", 0, "--thin", 1, "--init", "Tom is here.")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: memory does not suffice (")


def test_an_error_that_nobody_expected_is_shown_whole(monkeypatch, mcmc_text):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("experiments.gibbs.start_states", broken)
    assert isinstance(mcmc_text("gibbs").exception, RuntimeError)


@pytest.mark.parametrize("where", ["", "def f(texts):\n    "])
def test_an_energy_that_ends_the_program_is_told(mcmc_text, tmp_path, where):
    (tmp_path / "mine.py").write_text(f"{where}raise SystemExit(0)\n")
    result = mcmc_text("gibbs", "--energy", "mine.py:f", "--chains", 1, "--steps", 2, "--warmup", 0, "--thin", 1)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: the code of an energy or a model ended the program (SystemExit: 0)")


def test_arguments_of_python_are_options_to_a_shell(mcmc_text, monkeypatch):
    def no_memory(*_, **__):
        raise OutOfMemory("one row does not fit; load with dtype=bfloat16, or take a smaller model")

    monkeypatch.setattr("experiments.gibbs.start_states", no_memory)
    result = mcmc_text("gibbs")
    assert result.stderr == "error: one row does not fit; load with --dtype bfloat16, or take a smaller model\n"
    assert result.exit_code == 1


def test_without_a_command_there_is_help(mcmc_text):
    result = mcmc_text()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: main [OPTIONS] COMMAND")
    assert "gibbs  " in result.stderr


def test_one_thread_stays_fast_enough_to_be_used(embedded):
    """A smoke test against thread spinning and hidden timers: two orders of magnitude of slack."""
    from experiments.gibbs import gibbs

    began = time.monotonic()
    gibbs(model=embedded, chains=8, steps=20, warmup=0, thin=20, correct="none")
    assert time.monotonic() - began < 30


def test_main_is_the_console_script():
    assert main.name == "main"
