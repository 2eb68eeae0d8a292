"""A model's files are untrusted input: each way to spoil them is one line, and none allocates or runs what it asks."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, SentenceEncoder, Seq2SeqLM, task_of
from samplers import InvalidInput
from tests.lm_adapters import tiny, tiny_causal, tiny_seq2seq

Spoil = Callable[[Path], object]
WORDS = "bert.embeddings.word_embeddings.weight"


def config(**changes: object) -> Spoil:
    return lambda folder: changed(folder / "config.json", lambda facts: facts | changes)


def tokenizer(change: Callable[[Any], object]) -> Spoil:
    """``change`` alters the facts of tokenizer.json, or returns what is to stand there."""
    return lambda folder: changed(folder / "tokenizer.json", lambda facts: change(facts) or facts)


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def holds(name: str, content: bytes | str) -> Spoil:
    content = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, size: int) -> Spoil:
    return lambda folder: os.truncate(folder / name, size)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def index(content: object) -> Spoil:
    """Weights in parts, as ``content`` tells; what was the whole is a part called up.safetensors outside."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "up.safetensors")
        torch.save({}, folder / "part.bin")
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return spoil


def fewer_rows(folder: Path) -> None:
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    config(vocab_size=50)(folder)
    weights(lambda w: w.update({k: v[:50].clone() for k, v in w.items() if v.shape[0] == rows}))(folder)


def only_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


CASES: dict[str, tuple[Spoil, str]] = {
    "config cut": (cut("config.json", 100), "config.json is not JSON"),
    "config empty": (holds("config.json", ""), "config.json is not JSON"),
    "config of bytes": (holds("config.json", b"\xff\xfe\x00"), "config.json is not JSON"),
    "config nested": (holds("config.json", "[" * 100_000), "config.json is not JSON"),
    "config a list": (holds("config.json", "[1, 2]"), "holds list, not an object"),
    "config null": (holds("config.json", "null"), "holds NoneType, not an object"),
    "config without type": (holds("config.json", "{}"), "Unrecognized model"),
    "config of a list as type": (config(model_type=["bert"]), "unhashable"),
    "config too large": (holds("config.json", b" " * (2**26 + 1)), "is larger than"),
    "hidden size 10**9": (config(hidden_size=10**9), "configuration describes 36,000"),
    "positions 10**12": (config(max_position_embeddings=10**12), "configuration describes 8"),
    "vocabulary 10**10": (config(vocab_size=10**10), "configuration describes"),
    "layers 10**9": (config(num_hidden_layers=10**9), "asks for num_hidden_layers 1,000,000,000"),
    "labels 10**9": (config(num_labels=10**9), "asks for num_labels 1,000,000,000"),
    "layers in a list": (config(attention_types=[[["global", "local"], 10**9]]), "asks for attention_types"),
    "hidden size 0": (config(hidden_size=0), "no usable model"),
    "hidden size -1": (config(hidden_size=-1), "negative dimension"),
    "hidden size a text": (config(hidden_size="x"), "expected int"),
    "no heads": (config(num_attention_heads=0), "ZeroDivisionError"),
    "fewer than no heads": (config(num_attention_heads=-1), "RuntimeError: invalid shape dimension"),
    "a norm that is none": (config(layer_norm_eps=-1e9), "answers a text with NaN as float32"),
    "unknown activation": (config(hidden_act="nonesuch"), "KeyError: 'nonesuch'"),
    "padding beyond": (config(pad_token_id=10**6), "Padding_idx"),
    "type a module": (config(dtype="os.system"), "no attribute"),
    "attention from the hub": (config(attn_implementation="someone/kernel"), "trust_remote_code=True"),
    "weights named as pickle": (config(transformers_weights="adapter_model.bin"), "only safetensors are read"),
    "an adapter": (holds("adapter_config.json", "{}"), "is an adapter"),
    "only pickle": (only_pickle, "convert it once: python -c"),
    "weights cut": (cut("model.safetensors", 3000), "deserializing header"),
    "weights empty": (cut("model.safetensors", 0), "deserializing header"),
    "header absurd": (holds("model.safetensors", struct.pack("<Q", 2**62) + b"{}"), "header too large"),
    "a wrong shape": (weights(lambda w: w.update({WORDS: torch.zeros(4, 4)})), "do not fit its configuration"),
    "a scalar": (weights(lambda w: w.update({WORDS: torch.zeros(())})), "do not fit its configuration"),
    "one missing": (weights(lambda w: w.pop(WORDS)), f"lacks weights ({WORDS})"),
    "NaN": (weights(lambda w: w[WORDS][3, 3].fill_(torch.nan)), f"NaN or infinite weights ({WORDS}) as float32"),
    "infinity": (weights(lambda w: w[WORDS][3, 3].fill_(-torch.inf)), f"NaN or infinite weights ({WORDS})"),
    "parts of pickle": (index({"weight_map": {WORDS: "part.bin"}}), "names 'part.bin'; only safetensors files"),
    "parts elsewhere": (index({"weight_map": {WORDS: "../up.safetensors"}}), "names '../up.safetensors'; only"),
    "parts that are not there": (
        index({"weight_map": {WORDS: "gone.safetensors"}}),
        "names 'gone.safetensors', which is not",
    ),
    "parts a list": (index([]), "names no files"),
    "fewer embeddings than tokens": (fewer_rows, "and its embedding 50 rows"),
    "no tokenizer.json": (lambda folder: (folder / "tokenizer.json").unlink(), "no usable model"),
    "tokenizer cut": (cut("tokenizer.json", 300), "no usable model"),
    "tokenizer of bytes": (holds("tokenizer.json", b"\x00\xff" * 99), "no usable model"),
    "tokenizer empty": (holds("tokenizer.json", "{}"), "KeyError: 'added_tokens'"),
    "tokenizer a list": (holds("tokenizer.json", "[]"), "TypeError"),
    "tokenizer without model": (tokenizer(lambda t: t | {"model": None}), "did not match any variant"),
    "tokens none": (tokenizer(lambda t: t["model"]["vocab"].clear()), "Missing [UNK]"),
    "all tokens one": (tokenizer(lambda t: t["model"]["vocab"].update(dict.fromkeys(t["model"]["vocab"], 5))), "token"),
    "a token beyond": (tokenizer(lambda t: t["model"]["vocab"].update(zzz=10**6)), "a token 1,000,000, and its emb"),
    "a frame beyond": (
        tokenizer(lambda t: t["post_processor"]["special_tokens"]["[CLS]"].update(ids=[10**6])),
        "a token 1,000,000, and its embedding",
    ),
    "a pattern that is none": (
        tokenizer(
            lambda t: (
                t
                | {
                    "pre_tokenizer": {
                        "type": "Split",
                        "pattern": {"Regex": "(("},
                        "behavior": "Isolated",
                        "invert": False,
                    }
                }
            )
        ),
        "unmatched parenthesis",
    ),
    "a panic": (
        tokenizer(lambda t: t | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
        "PanicException",
    ),
    "tokenizer_config a list": (holds("tokenizer_config.json", "[]"), "AttributeError"),
    "tokenizer_config cut": (holds("tokenizer_config.json", "{"), "no usable model"),
    "tokenizer class a number": (holds("tokenizer_config.json", '{"tokenizer_class": 7}'), "no usable model"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        return tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "model")


def refused(load: Callable[..., object], folder: Path, capfd: pytest.CaptureFixture[str], **options: object) -> str:
    """The one line."""
    capfd.readouterr()
    state = torch.get_rng_state()
    with pytest.raises(InvalidInput) as caught:
        load(str(folder), **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


def test_the_model_that_is_spoilt_is_good(folder: Path):
    lm = MaskedLM.from_pretrained(str(folder))
    assert torch.isfinite(MaskedEnergy(lm, "pll")(lm.space.encode(["a b c"]))).all()


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_one_line(folder: Path, case: str, capfd: pytest.CaptureFixture[str]):
    spoil, told = CASES[case]
    spoil(folder)
    assert told in refused(MaskedLM.from_pretrained, folder, capfd)


@pytest.mark.parametrize("case", ["hidden size 10**9", "positions 10**12", "vocabulary 10**10", "layers 10**9"])
def test_absurd_sizes_are_refused_before_weights_are_read(
    folder: Path, case: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(transformers.AutoModelForMaskedLM, "from_pretrained", forbidden)
    CASES[case][0](folder)
    assert "weights were read" not in refused(MaskedLM.from_pretrained, folder, capfd)


def test_numbers_that_a_type_cannot_hold(folder: Path, capfd: pytest.CaptureFixture[str]):
    weights(lambda w: w[WORDS][3, 3].fill_(1e38))(folder)
    MaskedLM.from_pretrained(str(folder))
    assert "weights (bert.embeddings.word_embeddings.weight) as float16" in refused(
        MaskedLM.from_pretrained, folder, capfd, dtype="float16"
    )


def test_an_added_token_without_an_embedding_is_told_where_a_text_has_it(folder: Path):
    """As models have that share a tokenizer with those that read images."""
    more = transformers.AutoTokenizer.from_pretrained(folder)
    more.add_tokens([f"<image-{number}>" for number in range(tiny.SPARE + 1)])
    more.save_pretrained(folder)
    space = MaskedLM.from_pretrained(str(folder)).space
    assert space.encode(["a <image-0>"]).shape == (1, 2)
    with pytest.raises(InvalidInput, match="cannot represent"):
        space.encode([f"a <image-{tiny.SPARE}>"])


def test_half_a_character_is_no_text(folder: Path):
    with pytest.raises(InvalidInput, match=r"half a character .* at character 3 of 'a \\ud800'"):
        MaskedLM.from_pretrained(str(folder)).space.encode(["a b", "a \ud800"])


@pytest.mark.parametrize("token", [10**9, -1, "x", True])
@pytest.mark.parametrize("setting", ["decoder_start_token_id", "eos_token_id", "forced_bos_token_id"])
def test_settings_that_name_no_token(setting: str, token: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    good = tiny_seq2seq.build("t5")
    folder = tiny.save(good.model, good.tokenizer, tmp_path / "model")
    changed(folder / "generation_config.json", lambda facts: facts | {setting: token})
    assert refused(Seq2SeqLM.from_pretrained, folder, capfd)


def test_a_causal_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    good = tiny_causal.build("llama")
    folder = tiny.save(good.model, good.space.tokenizer, tmp_path / "model")
    config(num_hidden_layers=10**9)(folder)
    assert "asks for num_hidden_layers" in refused(CausalLM.from_pretrained, folder, capfd)
    assert "asks for num_hidden_layers" in refused(task_of, folder, capfd)


def module(kind: str, path: str = "1_Dense") -> dict[str, str]:
    return {"type": kind, "path": path}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[", "modules.json is not JSON"),
        (json.dumps({"type": "x"}), "not a list of modules"),
        (json.dumps([]), "not a list of modules"),
        (json.dumps([{"type": 7, "path": ""}]), "not a list of modules"),
        (json.dumps([{"type": "sentence_transformers.models.Transformer"}]), "not a list of modules"),
        (json.dumps([module("own.Transformer")]), "trust_remote_code=True"),
        (json.dumps([module("sentence_transformers.base.modules.dense.torch")]), "is unknown; known are"),
        (json.dumps([module("sentence_transformers.models.Dense", "../other")]), "names a path outside the model"),
        (json.dumps([module("sentence_transformers.models.Dense", "/etc")]), "names a path outside the model"),
        (json.dumps([module("sentence_transformers.models.Dense")]), "are pickled; only safetensors"),
    ],
)
def test_modules_of_a_sentence_encoder(folder: Path, content: str, told: str, capfd: pytest.CaptureFixture[str]):
    (folder / "modules.json").write_text(content)
    (folder / "1_Dense").mkdir()
    torch.save({}, folder / "1_Dense" / "pytorch_model.bin")
    assert told in refused(SentenceEncoder.from_pretrained, folder, capfd)
