"""Models of a benchmark: the embedded tokenizer, random weights, far from flat, fast."""

from __future__ import annotations

from functools import cache

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from experiments.benchmarking.models import Models
from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM, load_pretrained
from tests.lm_adapters.tiny import enlarged

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@cache
def tiny_models() -> Models:
    _, tokenizer = load_pretrained("masked", "masked-en")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = {
            "masked": MaskedLM(masked(tokenizer), tokenizer),
            "causal": CausalLM(causal(tokenizer), tokenizer),
            "seq2seq": Seq2SeqLM(seq2seq(tokenizer), tokenizer),
        }
    return Models("tiny", made.__getitem__)


def masked(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return enlarged(
        BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **SIZES)), 10.0
    ).double()


def causal(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **SIZES)
    return enlarged(LlamaForCausalLM(config), 10.0).double()


def seq2seq(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).double()
