"""The embedded masked language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

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
from lm_adapters import MaskedEnergy, MaskedLM

__all__ = ["MaskedTask", "draw_mask"]

QUICK_CHECK = 500  # held-out sentences scored along the way; the card's figures use all of them
POSITIONS = 128  # every held-out sentence fits
BOOKS = 0.3  # of the sentences from books, in an epoch
MASK_POWER = 5  # a share ``0.1 + 0.9 u^MASK_POWER`` of each sentence is masked


class MaskedTask(Task):
    """A ModernBERT that fills masks in English sentences."""

    name, kind, card = "masked-en", "masked", cards.MASKED
    facts = MappingProxyType({"mask_power": MASK_POWER, "books": BOOKS})
    width, heads, feed_forward, layers = 256, 4, 640, 6
    embedding_rate = 2.0
    dropped = ("embeddings", "Wo")
    recipe = Recipe(rate=3e-3, steady=4_550, decay=3_312, batch_tokens=24_576, dropout=0.1, weight_decay=0.1)

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        sentences, self.held_out = english_split(corpus)
        self.sentences, self.books = (
            by_length(tokenizer, rows, MAX_LENGTH) for rows in (sentences, books_split(corpus)[0])
        )
        self.output = OutputTokens((*self.sentences.values(), *self.books.values()), len(tokenizer))
        self.epoch_tokens = sum(rows.numel() for rows in self._epoch(torch.Generator()).values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return embedded_tokenizer()

    def build(self) -> ModernBertForMaskedLM:
        """With random weights."""
        shape: dict[str, Any] = {"layer_types": ["full_attention"] * self.layers, "attn_implementation": "eager"}
        config = ModernBertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=POSITIONS,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            cls_token_id=self.tokenizer.cls_token_id,
            sep_token_id=self.tokenizer.sep_token_id,
            **shape,
        )
        return ModernBertForMaskedLM(config)

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(self._cut, tokens), seed, first_step)

    def inputs(self, batch: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Of ``int64 [rows, length]``; ``where`` are the hidden tokens in all of them together."""
        mask = draw_mask(batch, MASK_POWER, rng)
        read = batch.masked_fill(mask, self.tokenizer.mask_token_id)
        return {"read": read, "where": mask.flatten().nonzero()[:, 0], **self.output.draw(batch[mask], rng)}

    def loss(self, model: ModernBertForMaskedLM, inputs: dict[str, Tensor]) -> Tensor:
        """Mean ``-log p`` (nats) of hidden tokens; the head runs on them only."""
        states = model.model(input_ids=inputs["read"]).last_hidden_state.flatten(0, 1)
        return mean_nats(model.head(states[inputs["where"]]), model.decoder.weight, inputs, model.decoder.bias)

    def quick_figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return self._pseudo_log_likelihood(model, self.held_out[:QUICK_CHECK])

    def figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return {"sentences": len(self.held_out), **self._pseudo_log_likelihood(model, self.held_out)}

    def _epoch(self, rng: torch.Generator) -> dict[int, Tensor]:
        return with_a_share_of(self.sentences, self.books, BOOKS, rng)

    def _cut(self, tokens: int, rng: torch.Generator) -> list[Tensor]:
        return same_length_batches(self._epoch(rng), tokens, rng)

    def _pseudo_log_likelihood(self, model: ModernBertForMaskedLM, texts: list[str]) -> dict[str, float]:
        """As the sampler computes it."""
        lm = MaskedLM(model, self.tokenizer)
        energy, nats, tokens = MaskedEnergy(lm, "pll"), 0.0, 0
        with torch.inference_mode():
            for start in range(0, len(texts), 500):
                x = lm.space.encode(texts[start : start + 500]).to(model.device)
                nats += energy(x).sum().item()
                tokens += int(lm.space.lengths(x).sum())
        lm.close()
        return {"nats_per_token": nats / tokens, "nats_per_character": nats / sum(map(len, texts))}


def draw_mask(rows: Tensor, power: int, rng: torch.Generator) -> Tensor:
    """``bool [rows, length]``: each row hides a share ``0.1 + 0.9 u^power`` of its text, at least one token of it.

    Low shares teach the conditionals that a chain uses, high ones teach to start from nothing but masks.
    """
    count, length = rows.shape
    text = length - 2
    share = 0.1 + 0.9 * torch.rand(count, 1, generator=rng) ** power
    hidden = (share * text + torch.rand(count, 1, generator=rng)).floor().clamp(1, text)
    rank = torch.rand(count, text, generator=rng).argsort(dim=1).argsort(dim=1)
    return torch.nn.functional.pad(rank < hidden, (1, 1))
