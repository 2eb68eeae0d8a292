"""Python code that a model brings along is run only where that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import dynamic_module_utils

from lm_adapters import MaskedEnergy, MaskedLM, SentenceEncoder, load_pretrained, task_of
from samplers import InvalidInput
from tests.lm_adapters import tiny

CODE = """
open({witness!r}, "a").close()
from transformers import BertConfig, BertForMaskedLM, BertModel

class OwnConfig(BertConfig):
    model_type = "own-of-{name}"

class OwnModel(BertForMaskedLM):
    config_class = OwnConfig

class OwnEncoder(BertModel):
    config_class = OwnConfig
"""
CLASSES = {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel", "AutoModel": "own.OwnEncoder"}


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """Is there once the model's code has run."""
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path: Path, witness: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "modules"
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(cache))
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "model")
    (path / "own.py").write_text(CODE.format(witness=str(witness), name=tmp_path.name.replace("_", "-")))
    facts = json.loads((path / "config.json").read_text())
    facts |= {"model_type": f"own-of-{tmp_path.name.replace('_', '-')}", "auto_map": CLASSES}
    (path / "config.json").write_text(json.dumps(facts))
    return path


LOADERS: dict[str, Callable[..., object]] = {
    "MaskedLM": MaskedLM.from_pretrained,
    "encoder": SentenceEncoder.from_pretrained,
    "load_pretrained": lambda name, **options: load_pretrained("masked", name, **options),
    "task_of": task_of,
}


@pytest.mark.parametrize("how", LOADERS)
def test_it_is_not_run_unless_asked_for(folder: Path, witness: Path, how: str, capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    with pytest.raises(InvalidInput) as caught:
        LOADERS[how](str(folder))
    assert not witness.exists()
    assert capfd.readouterr() == ("", "")
    assert "which is run only with trust_remote_code=True" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", LOADERS)
def test_it_is_run_where_it_was_asked_for(folder: Path, witness: Path, how: str):
    LOADERS[how](str(folder), trust_remote_code=True)
    assert witness.exists()


def test_what_is_loaded_is_the_model(folder: Path):
    assert task_of(str(folder), trust_remote_code=True) == "masked"
    lm = MaskedLM.from_pretrained(str(folder), trust_remote_code=True)
    assert type(lm.model).__name__ == "OwnModel"
    assert torch.isfinite(MaskedEnergy(lm, "pll")(lm.space.encode(["a b c"]))).all()


def test_once_trusted_is_not_trusted_for_ever(folder: Path, witness: Path):
    MaskedLM.from_pretrained(str(folder), trust_remote_code=True)
    witness.unlink()
    with pytest.raises(InvalidInput, match="trust_remote_code=True"):
        MaskedLM.from_pretrained(str(folder))
    assert not witness.exists()


def test_the_library_own_class_comes_first(folder: Path, witness: Path):
    """A model of a known type needs none of the code that it brings."""
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | {"model_type": "bert"}))
    assert type(MaskedLM.from_pretrained(str(folder)).model).__name__ == "BertForMaskedLM"
    assert not witness.exists()


def test_a_trusted_model_is_checked_all_the_same(folder: Path):
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | {"num_hidden_layers": 10**9}))
    with pytest.raises(InvalidInput, match="asks for num_hidden_layers"):
        MaskedLM.from_pretrained(str(folder), trust_remote_code=True)
