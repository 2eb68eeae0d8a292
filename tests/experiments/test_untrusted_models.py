"""Models and run folders from others, as the command line meets them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from transformers import dynamic_module_utils

from tests.lm_adapters import tiny
from tests.lm_adapters.loading.test_hostile_models import CASES

CODE = """
open({witness!r}, "a").close()
from transformers import BertConfig, BertForMaskedLM

class OwnConfig(BertConfig):
    model_type = "own"

class OwnModel(BertForMaskedLM):
    config_class = OwnConfig
"""
# What the tiny models write is remarked on.
pytestmark = pytest.mark.filterwarnings("ignore:texts of .* have no")
SHORT = ("--chains", 1, "--steps", 4, "--warmup", 0, "--thin", 1, "--length", 3)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        return tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "model")


@pytest.fixture
def brings_code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes the model one that needs code of its own; the file that is returned is there once the code has run."""

    def change() -> Path:
        monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
        monkeypatch.setattr(sys, "path", [*sys.path])
        (folder / "own.py").write_text(CODE.format(witness=str(tmp_path / "ran")))
        classes = {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel"}
        edit(folder / "config.json", model_type="own", auto_map=classes)
        return tmp_path / "ran"

    return change


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("case", ["config cut", "layers 10**9", "only pickle", "NaN", "a panic"])
@pytest.mark.parametrize("command", ["score", "gibbs", "keywords"])
def test_a_spoilt_model_is_one_line(
    mcmc_text: Callable[..., Result], folder: Path, tmp_path: Path, command: str, case: str
):
    spoil, told = CASES[case]
    spoil(folder)
    (tmp_path / "texts.txt").write_text("a b\n")
    given = {"score": ["texts.txt"], "gibbs": [], "keywords": ["a", "b"]}[command]
    assert told in refused(mcmc_text(command, *given, "--model", "model"))


@pytest.mark.parametrize("command", [("score", "texts.txt"), ("gibbs", *SHORT)], ids=["score", "gibbs"])
def test_code_is_run_only_with_the_flag(
    mcmc_text: Callable[..., Result], brings_code: Callable[[], Path], tmp_path: Path, command: tuple[object, ...]
):
    witness = brings_code()
    (tmp_path / "texts.txt").write_text("a b\n")
    assert "which is run only with --trust-remote-code" in refused(mcmc_text(*command, "--model", "model"))
    assert not witness.exists()
    result = mcmc_text(*command, "--model", "model", "--trust-remote-code")
    assert result.exit_code == 0, result.stderr
    assert witness.exists()
    assert command[0] == "score" or "what the models bring along was run" in result.stdout


def test_the_flag_is_kept_with_the_run(
    mcmc_text: Callable[..., Result], brings_code: Callable[[], Path], tmp_path: Path
):
    brings_code()
    result = mcmc_text("gibbs", *SHORT, "--model", "model", "--trust-remote-code", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["trust_remote_code"] is True


def test_a_run_folder_cannot_ask_for_code(
    mcmc_text: Callable[..., Result], brings_code: Callable[[], Path], tmp_path: Path
):
    result = mcmc_text("gibbs", *SHORT, "--model", "model", "--out", "run")
    assert result.exit_code == 0, result.stderr
    witness = brings_code()
    edit(tmp_path / "run" / "config.json", trust_remote_code=True)
    for command in (["--resume", "run"], [*SHORT, "--model", "model", "--out", "run"]):
        assert "--trust-remote-code" in refused(mcmc_text("gibbs", *command))
        assert not witness.exists()
    mcmc_text("gibbs", "--resume", "run", "--trust-remote-code")
    assert witness.exists()
