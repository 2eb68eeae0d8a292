"""Scorers of random weights on the embedded tokenizer: small enough to be made anew."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from lm_adapters import CausalLM, Seq2SeqLM


def tiny_causal(tokenizer: PreTrainedTokenizerBase) -> CausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CausalLM(LlamaForCausalLM(config), tokenizer)


def tiny_seq2seq(tokenizer: PreTrainedTokenizerBase) -> Seq2SeqLM:
    end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    config = T5Config(
        vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=end,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Seq2SeqLM(T5ForConditionalGeneration(config), tokenizer)


def tiny_writer(tokenizer: PreTrainedTokenizerBase, *tasks: str) -> Seq2SeqLM:
    """A ``tiny_seq2seq`` whose configuration lists ``tasks``."""
    lm = tiny_seq2seq(tokenizer)
    lm.model.config.task_specific_params = {task: {"prefix": ""} for task in tasks}
    return lm
