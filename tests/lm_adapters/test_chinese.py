"""Chinese, and Chinese mixed with Latin, comes back as it was from every type of tokenizer."""

# ruff: noqa: RUF001  (full-width marks are what this file is about)
from __future__ import annotations

import unicodedata
from functools import cache

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from experiments.training.chinese.corpus import character_tokenizer
from lm_adapters import TextSpace
from lm_adapters.full_width import widen

NAMES = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
COUPLETS = ["床前明月光，疑是地上霜。", "两个黄鹂鸣翠柳，一行白鹭上青天。", "何当共剪西窗烛，却话巴山夜雨时？"]
MIXED = [
    "我用Python 3写程序，他用C++。",
    "他说：“OK，Tom，我们3点见！”",
    "GPT-2和BERT是语言模型。",
    "请在www.example.com上注册，或写信给tom@example.com。",
    "价格是99.5元（约$14）；有1,000元。",
    "《红楼梦》有120回，「你好」在里面吗？",
    "他——我的朋友——来了……",
    "今天是2024-05-01，10:30开会。",
    "一、二、三：AI时代·未来",
    "Hello, 世界！",
]
TEXTS = COUPLETS + MIXED


def wordpiece() -> PreTrainedTokenizerFast:
    """As that of bert-base-chinese."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return learnt(tokenizer, trainers.WordPieceTrainer(vocab_size=600, special_tokens=[*NAMES.values()]))


def byte_level() -> PreTrainedTokenizerFast:
    """As that of GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*NAMES.values()], initial_alphabet=alphabet)
    return learnt(tokenizer, trainer)


def unigram() -> PreTrainedTokenizerFast:
    """As that of mT5: NFKC makes full-width marks those of ASCII."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return learnt(
        tokenizer, trainers.UnigramTrainer(vocab_size=400, special_tokens=[*NAMES.values()], unk_token="[UNK]")
    )


def learnt(tokenizer: Tokenizer, trainer: trainers.Trainer) -> PreTrainedTokenizerFast:
    trainer.show_progress = False
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


KINDS = {
    "WordPiece": wordpiece,
    "byte-level BPE": byte_level,
    "Unigram": unigram,
    "characters": lambda: character_tokenizer(COUPLETS * 3),
}
LOST = {"WordPiece": ["spaces beside punctuation set by rule"], "Unigram": ["full-width marks set by rule"]}


@cache
def space(kind: str) -> TextSpace:
    return TextSpace(KINDS[kind]())


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_back(kind):
    x = space(kind).encode(TEXTS)
    assert space(kind).decode(x) == TEXTS
    assert space(kind).is_canonical(x).all()
    assert space(kind).lost == LOST.get(kind, [])


@pytest.mark.parametrize(
    "text", ["I said (well) so, 10:30; why? http://a.b...", "他说 Hello, world", "有1,000人", "见(a)"]
)
def test_marks_that_stay(text):
    assert widen(text) == text if text[0] != "见" else widen(text) == "见（a）"


def test_full_width_marks_are_set_where_they_were():
    for text in TEXTS:
        assert widen(unicodedata.normalize("NFKC", text)) == text
