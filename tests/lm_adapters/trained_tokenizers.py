"""Tokenizers of every kind in use, trained on sentences of our own."""

# ruff: noqa: RUF001  (marks that look alike are what this file is about)
from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "Tom isn't here.",
    "We don't know why the dogs' bowls were empty, do we?",
    "'Tis the season, she said; they've all gone home.",
    '"Is it late?" he asked. "No," said Ann, "it\'s only 5:30 p.m."',
    "A ticket costs $5.50, and a well-known guide (in colour) costs £12!",
    "Write to tom@example.com or see www.example.com and http://example.org/a_b for more.",
    "@user: have #fun and save 50% of 1,000,000 crowns...",
    "Wait... what? In the '90s it was 3/4 full [more or less].",
    "C'est l'ami d'Anne, qu'est-ce qu'il veut?",
    "“We’re open,” says the sign; ‘closed’ it is not.",
    "„Bis morgen“, sagte er, und ging.",
    "¿Qué pasa? ¡Nada!",
    "The U.S. team won by 3-1 on 1990–1995 rules, and R & B played on.",
    "2 + 2 = 4",
]
CHINESE = ["今天晚上我们去听音乐。", "他说：“音乐很好听，我喜欢！”", "你有3本书吗？", "我用Linux写《日记》、听歌。"]
NAMES = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
SPECIAL = list(NAMES.values())


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


def wordpiece(*, lowercase: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, *CHINESE], trainer)
    return wrapped(tokenizer)


def byte_level(*, prefix: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", int(prefix), 0)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return wrapped(tokenizer)


def unigram() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return wrapped(tokenizer)


def byte_fallback() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary = trained["vocab"] | {f"<0x{b:02X}>": len(trained["vocab"]) + b for b in range(256)}
    merges = [tuple(pair) for pair in trained["merges"]]
    tokenizer.model = models.BPE(vocabulary, merges, unk_token="[UNK]", byte_fallback=True)
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    return wrapped(tokenizer)


def word_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return wrapped(tokenizer)


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "WordPiece, cased": partial(wordpiece, lowercase=False),
    "WordPiece, uncased": partial(wordpiece, lowercase=True),
    "byte-level BPE": partial(byte_level, prefix=False),
    "byte-level BPE, space first": partial(byte_level, prefix=True),
    "Unigram": unigram,
    "BPE, byte fallback": byte_fallback,
    "WordLevel": word_level,
}


@cache
def trained(kind: str) -> PreTrainedTokenizerFast:
    return KINDS[kind]()
