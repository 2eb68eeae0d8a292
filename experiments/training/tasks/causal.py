"""The embedded causal language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.training import cards
from experiments.training.data import (
    MAX_LENGTH,
    books_split,
    by_length,
    embedded_tokenizer,
    english_split,
    epochs,
    same_length_batches,
    with_a_share_of,
)
from experiments.training.output_tokens import OutputTokens, mean_nats
from experiments.training.recipe import Recipe
from experiments.training.tasks.task import Task

__all__ = ["CausalTask"]

POSITIONS = 128  # every held-out sentence fits
BOOKS = 0.3  # of the sentences from books, in an epoch: 4 tokens in 10
QUICK_CHECK = 1000  # held-out sentences scored along the way; the card's figures use all of them
TOKENS_PER_PASS = 4096  # when scoring held-out sentences


class CausalTask(Task):
    """A Llama that writes English sentences from left to right."""

    name, kind, card = "causal-en", "causal", cards.CAUSAL
    facts = MappingProxyType({"books": BOOKS})
    dropped = ("embed_tokens", "o_proj", "down_proj")
    width, heads, feed_forward, layers = 320, 5, 768, 6
    embedding_rate = 4.0
    recipe = Recipe(rate=3e-3, steady=5_173, decay=3_448, batch_tokens=24_576, dropout=0.15, weight_decay=0.1)

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        sentences, self.held_out = english_split(corpus)
        books, self.held_out_books = books_split(corpus)
        self.sentences, self.books = (by_length(tokenizer, rows, MAX_LENGTH) for rows in (sentences, books))
        self.output = OutputTokens((*self.sentences.values(), *self.books.values()), len(tokenizer))
        self.epoch_tokens = sum(rows.numel() for rows in self._epoch(torch.Generator()).values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return embedded_tokenizer()

    def build(self) -> LlamaForCausalLM:
        """With random weights."""
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            hidden_act="gelu",
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            attn_implementation="eager",  # type: ignore[call-arg]  # of all configurations; fastest on short rows
        )
        return LlamaForCausalLM(config)

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(self._cut, tokens), seed, first_step)

    def inputs(self, batch: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Of ``int64 [rows, length]``, each row ``<s> text </s>``."""
        return {"read": batch[:, :-1], **self.output.draw(batch[:, 1:].flatten(), rng)}

    def loss(self, model: LlamaForCausalLM, inputs: dict[str, Tensor]) -> Tensor:
        """Mean ``-log p`` (nats) of text and end."""
        states = model.model(input_ids=inputs["read"], use_cache=False).last_hidden_state
        return mean_nats(states.flatten(0, 1), model.lm_head.weight, inputs)

    def quick_figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        return {
            **self._log_likelihood(model, self.held_out[:QUICK_CHECK]),
            "books": self._log_likelihood(model, self.held_out_books[:QUICK_CHECK]),
        }

    def figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        return {
            "sentences": len(self.held_out),
            **self._log_likelihood(model, self.held_out),
            "books": self._log_likelihood(model, self.held_out_books),
        }

    def _epoch(self, rng: torch.Generator) -> dict[int, Tensor]:
        return with_a_share_of(self.sentences, self.books, BOOKS, rng)

    def _cut(self, tokens: int, rng: torch.Generator) -> list[Tensor]:
        return same_length_batches(self._epoch(rng), tokens, rng)

    @torch.no_grad()
    def _log_likelihood(self, model: LlamaForCausalLM, texts: list[str]) -> dict[str, float]:
        nats, tokens = 0.0, 0
        for rows in by_length(self.tokenizer, texts, POSITIONS).values():
            for part in rows.split(max(1, TOKENS_PER_PASS // rows.shape[1])):
                nats += _nats(model, part.to(model.device)).double().sum().item()
                tokens += part[:, 1:].numel()
        return {
            "nats_per_sentence": nats / len(texts),
            "nats_per_token": nats / tokens,
            "nats_per_character": nats / sum(map(len, texts)),
        }


def _nats(model: LlamaForCausalLM, rows: Tensor) -> Tensor:
    """``[rows * (length - 1)]``: ``-log p`` of every token but the first, each given those before it."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
