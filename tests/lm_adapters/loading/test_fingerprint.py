"""One model is itself wherever it lies; whatever changes its numbers makes it another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from tokenizers import Tokenizer

from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, SentenceEncoder, Seq2SeqLM
from lm_adapters.fingerprint import hub_revision, model_fingerprint
from samplers.storage.tensor_file import digest
from tests.lm_adapters import tiny, tiny_causal, tiny_seq2seq


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path_factory.mktemp("model"))


def load(folder: Path, dtype: str = "float32") -> MaskedLM:
    return MaskedLM.from_pretrained(str(folder), dtype=dtype)


def told(lm: MaskedLM | CausalLM | Seq2SeqLM) -> dict[str, str]:
    return model_fingerprint(lm.model, lm.space.tokenizer)


def differing(first: dict[str, str], second: dict[str, str]) -> set[str]:
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}


def test_a_copy_elsewhere_is_the_same(saved: Path, tmp_path: Path):
    first, second = told(load(saved)), told(load(shutil.copytree(saved, tmp_path / "copy")))
    assert first == second
    assert set(first) == {"class", "dtype", "sha256", "configuration", "vocabulary"}
    assert (first["class"], first["dtype"]) == ("BertForMaskedLM", "float32")


def test_it_is_the_same_after_use(saved: Path):
    lm = load(saved)
    before = told(lm)
    MaskedEnergy(lm, "pll")(lm.space.encode(["a b c"]))
    lm.space.tokenizer(["a b", "c"], padding=True, truncation=True, max_length=4)
    assert told(lm) == before


def one_weight(lm: MaskedLM) -> None:
    weight = lm.model.get_parameter("bert.encoder.layer.1.output.dense.weight")
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))


def one_buffer(lm: MaskedLM) -> None:
    next(lm.model.buffers()).add_(1)


@pytest.mark.parametrize("change", [one_weight, one_buffer])
def test_one_number_changed(saved: Path, change: Callable[[MaskedLM], None]):
    lm = load(saved)
    before = told(lm)
    change(lm)
    assert differing(before, told(lm)) == {"sha256"}


def test_another_type(saved: Path):
    assert differing(told(load(saved)), told(load(saved, "bfloat16"))) == {"dtype", "sha256"}


def test_one_token_more(saved: Path):
    lm = load(saved)
    before = told(lm)
    lm.space.tokenizer.add_tokens(["entirely-new"])
    assert differing(before, told(lm)) == {"vocabulary"}


def test_a_token_made_special(saved: Path):
    lm = load(saved)
    before = told(lm)
    lm.space.tokenizer.add_special_tokens({"bos_token": "a"})
    assert differing(before, told(lm)) == {"vocabulary"}


def test_tokens_cut_another_way(saved: Path):
    lm = load(saved)
    before = told(lm)
    state = json.loads(lm.space.tokenizer.backend_tokenizer.to_str())
    state["normalizer"]["lowercase"] = False
    lm.space.tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    assert differing(before, told(lm)) == {"vocabulary"}


@pytest.mark.parametrize(("key", "value"), [("hidden_act", "relu"), ("layer_norm_eps", 1e-5)])
def test_the_same_weights_used_otherwise(saved: Path, tmp_path: Path, key: str, value: object):
    copy = shutil.copytree(saved, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {key: value}))
    assert differing(told(load(saved)), told(load(copy))) == {"configuration"}


def test_a_decoder_that_starts_otherwise():
    lm = tiny_seq2seq.build("t5")
    before = told(lm)
    lm.model.generation_config.decoder_start_token_id = 5
    assert differing(before, told(lm)) == {"configuration"}


def test_the_revision_of_a_model_from_the_hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Loaded from a Hugging Face cache; its layout ``models--OWNER--NAME/snapshots/COMMIT`` is documented there."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--someone--tiny"
    shutil.copytree(saved, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    from_hub = told(MaskedLM.from_pretrained("someone/tiny"))
    assert differing(told(load(saved)), from_hub) == {"revision"}
    assert from_hub["revision"] == commit


@pytest.mark.parametrize("name", [None, "", "someone/unknown", "/no/such/folder", "a//b", "masked-en"])
def test_no_revision(name: str | None):
    assert hub_revision(name) is None


@pytest.mark.parametrize("build", [tiny_causal.build, tiny_seq2seq.build], ids=["causal", "seq2seq"])
def test_every_kind_of_model(build: Callable[..., CausalLM | Seq2SeqLM]):
    name = next(iter((tiny_causal if build is tiny_causal.build else tiny_seq2seq).CLASSES))
    assert told(build(name)) == told(build(name))


def test_a_sentence_encoder(saved: Path):
    first, second = SentenceEncoder.from_pretrained(str(saved)), SentenceEncoder.from_pretrained(str(saved))
    assert model_fingerprint(first.model, first.space.tokenizer) == model_fingerprint(
        second.model, second.space.tokenizer
    )


def test_no_big_model_is_copied(saved: Path, monkeypatch: pytest.MonkeyPatch):
    """Tied weights count once, and what is handed on are the model's own tensors."""
    lm, given = load(saved), {}

    def spy(tensors: dict[str, torch.Tensor], told: str = "") -> str:
        given.update(tensors)
        return digest(tensors, told)

    monkeypatch.setattr("lm_adapters.fingerprint.digest", spy)
    told(lm)
    own = {tensor.data_ptr() for tensor in [*lm.model.parameters(), *lm.model.buffers()]}
    assert {tensor.data_ptr() for tensor in given.values()} == own
