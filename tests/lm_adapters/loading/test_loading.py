"""Every way in which a model cannot be loaded is one line; none runs code or leaves weights to chance."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from lm_adapters import DTYPES, MaskedEnergy, MaskedLM, check_device, load_pretrained
from lm_adapters.loading.pretrained import task_of
from lm_adapters.pretrained import embedded_names, embedded_path
from samplers import InvalidInput
from tests.lm_adapters import tiny


def problem(name: str | Path, **options: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        load_pretrained("masked", str(name), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model, to be spoilt."""
    return tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "model")


def test_a_good_folder(folder: Path, capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    model, tokenizer = load_pretrained("masked", str(folder))
    assert capfd.readouterr() == ("", "")
    assert model.dtype == torch.float32
    assert tokenizer.get_vocab() == tiny.wordpiece().get_vocab()


def test_offline_an_unknown_name_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = problem("no-such-owner/no-such-model")
    assert message.startswith("no model 'no-such-owner/no-such-model'")
    assert all(name in message for name in embedded_names())
    assert capfd.readouterr() == ("", "")


def test_without_internet_the_answer_is_quick(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    huggingface_hub.close_session()
    start = time.monotonic()
    message = problem("no-such-owner/no-such-model")
    elapsed = time.monotonic() - start
    huggingface_hub.close_session()
    assert "nor reachable on the hub" in message
    assert elapsed < 8
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a/b/c", "two words", "/no/such/folder", "./nowhere"])
def test_names_that_cannot_be(name: str):
    assert f"no model {name!r}" in problem(name)


def test_a_folder_without_a_model(tmp_path: Path):
    assert "holds no usable model" in problem(tmp_path)


def test_a_causal_model(tmp_path: Path):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
    tokenizer = tiny.byte_level()
    tiny.save(GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes)), tokenizer, tmp_path)
    assert problem(tmp_path).endswith("is a gpt2 model; a masked language model is needed here")


def test_an_encoder_decoder(tmp_path: Path):
    tokenizer = tiny.byte_level()
    sides = {f"{s}_{k}": n for s in ("encoder", "decoder") for k, n in (("layers", 1), ("attention_heads", 1))}
    config = BartConfig(vocab_size=len(tokenizer), d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, **sides)
    tiny.save(BartForConditionalGeneration(config), tokenizer, tmp_path)
    assert problem(tmp_path).endswith("is a bart model; a masked language model is needed here")


def test_an_encoder_needs_no_pooler(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    model = tiny.bert(tiny.wordpiece())
    tiny.save(model.bert, tiny.wordpiece(), tmp_path)
    capfd.readouterr()
    state = torch.get_rng_state()
    loaded, _ = load_pretrained("encoder", str(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert loaded.pooler is not None
    weights = loaded.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in model.bert.state_dict().items())


def test_an_encoder_needs_all_else(tmp_path: Path):
    model = tiny.bert(tiny.wordpiece()).bert
    weights = {key: value for key, value in model.state_dict().items() if "layer.1" not in key}
    model.save_pretrained(tmp_path, state_dict=weights)
    tiny.wordpiece().save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match=r"lacks weights \(encoder.layer.1.*of a sentence encoder"):
        load_pretrained("encoder", str(tmp_path))


@pytest.mark.parametrize("bare", ["encoder", "classifier"])
def test_weights_without_the_head(tmp_path: Path, bare: str, capfd: pytest.CaptureFixture[str]):
    model = tiny.bert(tiny.wordpiece())
    wrong = model.bert if bare == "encoder" else BertForSequenceClassification(model.config)
    tiny.save(wrong, tiny.wordpiece(), tmp_path)
    capfd.readouterr()
    assert "lacks weights (cls.predictions." in problem(tmp_path)
    assert capfd.readouterr() == ("", "")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"not safe" * 20),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-99]),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: edit(folder, model_type="nonesuch"),
    ],
    ids=["no weights", "garbage", "cut short", "bad json", "unknown type"],
)
def test_a_spoilt_folder(folder: Path, spoil: Callable[[Path], None], capfd: pytest.CaptureFixture[str]):
    spoil(folder)
    capfd.readouterr()
    assert f"the folder {str(folder)!r} holds no usable model: " in problem(folder)
    assert capfd.readouterr() == ("", "")


def test_weights_of_other_sizes(folder: Path, capfd: pytest.CaptureFixture[str]):
    edit(folder, hidden_size=32)
    capfd.readouterr()
    assert f"the weights of {str(folder)!r} do not fit its configuration" in problem(folder)
    assert capfd.readouterr() == ("", "")


def test_code_in_a_folder_is_neither_run_nor_offered(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    witness = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(witness)!r}, 'w').close()\n")
    edit(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"})
    capfd.readouterr()
    problem(folder)
    assert not witness.exists()
    assert "[y/N]" not in "".join(capfd.readouterr())


def test_a_folder_without_a_tokenizer(folder: Path):
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(InvalidInput, match="no token that may be proposed"):
        MaskedLM.from_pretrained(str(folder))


def test_a_copy_elsewhere_gives_the_same(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    x = MaskedLM.from_pretrained(str(folder)).space.encode(["a b c"])
    first, second = (MaskedEnergy(MaskedLM.from_pretrained(str(f)), "pll")(x) for f in (folder, copy))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", DTYPES)
def test_types(folder: Path, dtype: str):
    assert load_pretrained("masked", str(folder), dtype=dtype)[0].dtype == DTYPES[dtype]


@pytest.mark.parametrize("dtype", ["int8", "float", "", "torch.float32"])
def test_unknown_types(dtype: str):
    message = problem("never looked up", dtype=dtype)
    assert message == f"dtype {dtype!r} is unknown; choose one of float32, bfloat16, float16"


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", "", "cpu:x"])
def test_unknown_devices(device: str):
    assert problem("never looked up", device=device).startswith(f"device {device!r} cannot be used here")


def test_the_cpu_is_there():
    assert check_device("cpu") == torch.device("cpu")


def test_embedded_names_are_folders():
    assert embedded_path("no-such-model") is None
    for name in embedded_names():
        assert (embedded_path(name) / "config.json").is_file()


def test_a_configuration_tells_what_a_model_is_for(folder: Path, tmp_path: Path):
    tiny.save(
        GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1)), tiny.wordpiece(), tmp_path / "c"
    )
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
    bart = BartForConditionalGeneration(BartConfig(vocab_size=9, d_model=8, **sizes, **heads))
    tiny.save(bart, tiny.wordpiece(), tmp_path / "s")
    found = [task_of(str(path)) for path in (folder, tmp_path / "c", tmp_path / "s")]
    assert [*found, task_of("masked-en")] == ["masked", "causal", "seq2seq", "masked"]


def test_a_model_that_scores_no_text_has_no_task(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(InvalidInput, match="is a vit model, which does not score text"):
        task_of(str(tmp_path))
