"""The embedded causal language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.training import cards
from experiments.training.data import (
    MAX_LENGTH,
    by_length,
    embedded_tokenizer,
    english_split,
    epochs,
    same_length_batches,
)
from experiments.training.recipe import Phase, Recipe
from experiments.training.task import Task
from experiments.training.warm_start import warm_start_causal
from lm_adapters import load_pretrained

__all__ = ["CausalTask"]

POSITIONS = 128  # every held-out sentence fits
QUICK_CHECK = 500  # held-out sentences scored along the way; the card's figures use all of them
TOKENS_PER_PASS = 4096  # when scoring held-out sentences


class CausalTask(Task):
    """A Llama that writes English sentences from left to right."""

    name, kind, card = "causal-en", "causal", cards.CAUSAL
    embedding_rate = 4.0
    recipe = Recipe(
        phases=(
            Phase(steps=800, rate=1.5e-3, final_rate=1.5e-3, batch_tokens=2048),
            Phase(steps=1400, rate=1.5e-3, final_rate=0.0, batch_tokens=3072),
        ),
        warmup=100,
        evaluate_every=200,
    )

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        training, self.held_out = english_split(corpus)
        self.groups = by_length(tokenizer, training, MAX_LENGTH)
        self.epoch_tokens = sum(rows.numel() for rows in self.groups.values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return embedded_tokenizer()

    def build(self) -> LlamaForCausalLM:
        """The masked model's shape, started from its weights."""
        masked, _ = load_pretrained("masked", "masked-en")
        shape = masked.config
        config = LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.num_hidden_layers,
            num_attention_heads=shape.num_attention_heads,
            hidden_act=shape.hidden_activation,
            rope_parameters=shape.rope_parameters["full_attention"],
            rms_norm_eps=shape.norm_eps,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        model = LlamaForCausalLM(config)
        warm_start_causal(model, masked)
        return model

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(same_length_batches, self.groups, tokens), seed, first_step)

    def loss(self, model: LlamaForCausalLM, batch: Tensor, phase: Phase, rng: torch.Generator) -> Tensor:
        """Mean ``-log p`` (nats) of text and end in ``int64 [rows, length]``, each row ``<s> text </s>``."""
        return _nats(model, batch).mean()

    def quick_figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        return self._log_likelihood(model, self.held_out[:QUICK_CHECK])

    def figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        return {"sentences": len(self.held_out), **self._log_likelihood(model, self.held_out)}

    @torch.no_grad()
    def _log_likelihood(self, model: LlamaForCausalLM, texts: list[str]) -> dict[str, float]:
        nats, tokens = 0.0, 0
        for rows in by_length(self.tokenizer, texts, POSITIONS).values():
            for part in rows.split(max(1, TOKENS_PER_PASS // rows.shape[1])):
                nats += _nats(model, part).double().sum().item()
                tokens += part[:, 1:].numel()
        return {"nats_per_token": nats / tokens, "nats_per_character": nats / sum(map(len, texts))}


def _nats(model: LlamaForCausalLM, rows: Tensor) -> Tensor:
    """``[rows * (length - 1)]``: ``-log p`` of every token but the first, each given those before it."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
