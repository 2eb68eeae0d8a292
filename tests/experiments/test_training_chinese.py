"""The Chinese models in miniature: corpus, tokenizer, held-out rows, a few steps, a card."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import gzip
import json
import random
from itertools import islice

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from experiments.training import loop
from experiments.training.card import export
from experiments.training.chinese.causal import ChineseCausalTask
from experiments.training.chinese.corpus import (
    character_tokenizer,
    couplets_split,
    lines_of,
    mandarin_paraphrases,
    mandarin_split,
    simplified,
)
from experiments.training.chinese.kept_words import keep_runs
from experiments.training.chinese.masked import ChineseMaskedTask
from experiments.training.chinese.seq2seq import ChineseSeq2SeqTask
from experiments.training.chinese.warm_start import warm_start_seq2seq
from experiments.training.recipe import Recipe
from lm_adapters import TextSpace
from lm_adapters.pretrained import card_languages
from samplers import InvalidInput

pytest.importorskip("opencc")
HELD_OUT = 5
RECIPE = Recipe(1e-3, steady=3, decay=2, batch_tokens=200, warmup=2, window=3, evaluate_every=4, compiled=False)
TASKS = {"causal-zh": ChineseCausalTask, "masked-zh": ChineseMaskedTask}
models = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """60 couplets, 60 pairs; English sentences, of which the last are held out; small models."""
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    english = [f"It is {number}." for number in range(80)]
    couplets = [
        "".join([*rng.choices("春风明月山水", k=5), "，", *rng.choices("春风明月山水", k=5), "。"]) for _ in range(60)
    ]
    pairs = [
        f"{english[(number * 7) % 80]}\t這是第{'零一二三四五六七八九'[number % 10]}個{number}。" for number in range(60)
    ]
    pairs += [pair.replace("。", "呢。") for pair in pairs]  # two translations of each
    rows = {"tatoeba.eng.txt": english, "tatoeba.eng-cmn.tsv": pairs, "tang-couplets.zho.txt": couplets}
    for name, lines in rows.items():
        with gzip.open(folder / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("data", "chinese.corpus"):
            patch.setattr(f"experiments.training.{module}.HELD_OUT", HELD_OUT)
        for task in (ChineseCausalTask, ChineseMaskedTask):
            for name, size in {"width": 16, "heads": 2, "feed_forward": 16, "layers": 1}.items():
                patch.setattr(task, name, size)
        yield folder


def test_held_out_rows(corpus):
    couplets, held_out = couplets_split(corpus)
    assert len(held_out) == HELD_OUT
    assert not set(couplets) & set(held_out)
    pairs, held_out_pairs = mandarin_split(corpus)
    hidden = {f"It is {number}." for number in range(75, 80)}
    assert {english for _, english in held_out_pairs} <= hidden
    assert held_out_pairs
    assert not {english for _, english in pairs} & hidden
    assert all(mandarin.startswith("这是第") for mandarin, _ in [*pairs, *held_out_pairs])


@models
def test_a_model_is_trained_and_shipped(corpus, tmp_path, name):
    task, model = loop.train(TASKS[name], RECIPE, corpus, tmp_path, progress=False)
    read = {text for _, batch in islice(task.batches(200, 1, 0), 60) for text in _texts(task, batch)}
    assert not read & {text for rows in task.held_out_rows.values() for text in rows}
    assert read >= set(couplets_split(corpus)[0])
    export(task, model, RECIPE, tmp_path, tmp_path / "model")
    figures = json.loads((tmp_path / "model" / "figures.json").read_text())
    assert figures["nats_per_character"] == figures["sentences"]["nats_per_character"] > 0
    assert card_languages(str(tmp_path / "model")) == ["zh"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "couplets | 5 |" in card
    assert "{{" not in card


def _texts(task, batch):
    return task.tokenizer.batch_decode(batch, skip_special_tokens=True)


def test_every_text_comes_back_from_characters():
    tokenizer = character_tokenizer(["春风明月，" * 3])
    space = TextSpace(tokenizer)
    texts = ["春风明月，春风。", "我用Python 3写\U0001f600！", "龘 a  b", "“你好，”他说：《日记》——OK……"]
    x = space.encode(texts)
    assert space.decode(x) == texts
    assert space.is_canonical(x).all()
    assert space.lengths(x).tolist()[0] == 7 + 3  # the last mark is none of the vocabulary: three bytes
    assert space.lost == []
    ids = tokenizer.convert_tokens_to_ids(["春", "，", "a", "<mask>", "<extra_0>", "<0xE6>"])
    assert space.proposable[ids].tolist() == [True, True, True, False, False, False]


def test_traditional_characters_are_made_simplified():
    assert simplified(["這個問題", "床前明月光", "Tom說：OK"]) == ["这个问题", "床前明月光", "Tom说：OK"]


def test_without_the_corpus(tmp_path):
    with pytest.raises(InvalidInput, match=r"has no file tang-couplets\.zho\.txt\.gz; put it there"):
        couplets_split(tmp_path)


def test_the_seq2seq_model_learns_its_tasks(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ChineseSeq2SeqTask, "build", lambda task: small_seq2seq(len(task.tokenizer)))
    for name in ("CHECK", "GENERATED"):
        monkeypatch.setattr(f"experiments.training.chinese.seq2seq.{name}", 4)
    task, model = loop.train(ChineseSeq2SeqTask, RECIPE, corpus, tmp_path, progress=False)
    assert not set(task.mixture.rows) ^ {"words_to_sentence", "translation_en_to_zh", "next_line", "paraphrase"}
    export(task, model, RECIPE, tmp_path, tmp_path / "model")
    assert card_languages(str(tmp_path / "model")) == ["zh", "en"]
    assert "{{" not in (tmp_path / "model" / "README.md").read_text()


def small_seq2seq(vocabulary, **size):
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "pad_token_id": 0, **size}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=vocabulary, eos_token_id=2, decoder_start_token_id=0, **shape)
    )


def test_words_are_runs_of_characters_between_marks():
    tokenizer = character_tokenizer(["春风明月山水花鸟，。 "] * 3)
    ids = tokenizer(["春风明月山水花，鸟春风。", "月，。"], add_special_tokens=False, padding=True)["input_ids"]
    rows, space = torch.tensor(ids), tokenizer.convert_tokens_to_ids(" ")
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    is_character = torch.tensor([len(token) == 1 and token.isalnum() for token in tokens])
    kept = keep_runs(rows.repeat(200, 1), 0, space, is_character, torch.Generator().manual_seed(0))
    found = [text.strip("\0") for text in tokenizer.batch_decode(kept, skip_special_tokens=True)]
    for text, whole in zip(found, ["春风明月山水花，鸟春风。", "月，。"] * 200, strict=True):
        words = text.split(" ") if text else []
        assert all(1 <= len(word) <= 3 and word in whole for word in words), text
        assert len("".join(words)) <= len(whole) - 2
    sizes = {len(word) for text in found for word in text.split()}
    assert sizes == {1, 2, 3}
    assert {len(text.split()) for text in found} >= {1, 2, 3, 4}
    assert set(found[1::2]) <= {"", "月"}


def test_lines_and_paraphrases():
    assert lines_of(["春风，明月。", "一，二，三。", "无"]) == [("春风，", "明月。")]
    pairs = [("甲", "a"), ("乙", "a"), ("甲", "a"), ("丙", "b")]
    assert mandarin_paraphrases(pairs) == [("甲", "乙"), ("乙", "甲")]


def test_characters_begin_where_the_words_of_their_translations_lie():
    """Embeddings of one model that are those of the other, turned, are turned back; what frames texts is copied."""
    tokenizer = character_tokenizer(["".join(map(chr, range(0x4E00, 0x4E40)))] * 3)
    size = len(tokenizer)
    torch.manual_seed(0)
    english, model = small_seq2seq(size), small_seq2seq(size)
    causal = LlamaForCausalLM(
        LlamaConfig(vocab_size=size, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    turn = torch.linalg.qr(torch.randn(16, 16))[0]
    with torch.no_grad():
        theirs = english.get_input_embeddings().weight
        theirs[:] = 3 * torch.randn(size, 16)
        causal.get_input_embeddings().weight[:] = theirs @ turn / 2
    pairs = [(chr(0x4E00 + i), chr(0x4E00 + i)) for i in range(64) for _ in range(5)]
    warm_start_seq2seq(model, tokenizer, english, tokenizer, causal, pairs)
    assert torch.allclose(model.get_input_embeddings().weight, theirs, atol=1e-4)
    assert torch.equal(model.encoder.block[0].layer[0].SelfAttention.q.weight,
                       english.encoder.block[0].layer[0].SelfAttention.q.weight)  # fmt: skip
