"""Classifiers of a few thousand random weights, made in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tests.lm_adapters import tiny

LABELS = {0: "calm", 1: "glad", 2: "Sad"}
NAMED = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}


def bert(tokenizer: PreTrainedTokenizerFast, **more: object) -> BertForSequenceClassification:
    return BertForSequenceClassification(BertConfig(**{**tiny.sizes(tokenizer), **NAMED, **more}))


def next_sentence(words: Sequence[str] = "abcd") -> tuple[BertForNextSentencePrediction, PreTrainedTokenizerFast]:
    tokenizer = tiny.pairs(tiny.word_level(words))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = BertForNextSentencePrediction(BertConfig(**tiny.sizes(tokenizer)))
    return tiny.enlarged(model, 10.0), tokenizer


def _modernbert() -> PreTrainedModel:
    ids = {f"{name}_token_id": number for name, number in (("bos", 0), ("cls", 0), ("eos", 2), ("sep", 2))}
    return ModernBertForSequenceClassification(
        ModernBertConfig(**tiny.sizes(tiny.byte_level(), local_attention=8, **ids), **NAMED)
    )


def _gpt2() -> PreTrainedModel:
    return GPT2ForSequenceClassification(
        GPT2Config(vocab_size=140, n_embd=16, n_layer=2, n_head=2, n_positions=tiny.POSITIONS, **NAMED)
    )


def _bart() -> PreTrainedModel:
    parts = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 8))}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return BartForSequenceClassification(
        BartConfig(
            vocab_size=len(tiny.byte_level()),
            d_model=16,
            max_position_embeddings=64,
            **parts,
            **heads,
            **special,
            **NAMED,
        )
    )


CLASSES: dict[str, Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerFast]]] = {
    "bert": lambda: (bert(tiny.wordpiece()), tiny.wordpiece()),
    "modernbert": lambda: (_modernbert(), tiny.byte_level()),
    "gpt2, which takes one text at a time": lambda: (_gpt2(), tiny.wordpiece()),
    "bart, which has a decoder": lambda: (_bart(), tiny.byte_level()),
}


def build(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model, tokenizer = CLASSES[name]()
    return tiny.enlarged(model, 10.0).eval(), tokenizer
