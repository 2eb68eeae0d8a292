"""The embedded masked language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

from experiments.training import cards
from experiments.training.data import MAX_LENGTH, by_length, english_split, epochs, same_length_batches, train_tokenizer
from experiments.training.recipe import Phase, Recipe
from experiments.training.task import Task
from lm_adapters import MaskedEnergy, MaskedLM

__all__ = ["MaskedPhase", "MaskedTask", "draw_mask"]

QUICK_CHECK = 500  # held-out sentences scored along the way; the card's figures use all of them


@dataclass(frozen=True)
class MaskedPhase(Phase):
    """A share ``0.1 + 0.9 u^mask_power`` of each sentence is masked: a higher power masks less."""

    mask_power: int


class MaskedTask(Task):
    """A ModernBERT that fills masks in English sentences."""

    name, kind, card = "masked-en", "masked", cards.MASKED
    recipe = Recipe(
        phases=(
            MaskedPhase(steps=2000, rate=2.08e-3, final_rate=1.56e-3, batch_tokens=2048, mask_power=2),
            MaskedPhase(steps=4400, rate=1.5e-3, final_rate=0.0, batch_tokens=3072, mask_power=5),
            MaskedPhase(steps=9200, rate=1.5e-3, final_rate=0.35e-3, batch_tokens=3072, mask_power=5),
            MaskedPhase(steps=1000, rate=0.35e-3, final_rate=0.0, batch_tokens=3072, mask_power=5),
        )
    )

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        training, self.held_out = english_split(corpus)
        self.groups = by_length(tokenizer, training, MAX_LENGTH)
        self.epoch_tokens = sum(rows.numel() for rows in self.groups.values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return train_tokenizer(corpus)

    def build(self) -> ModernBertForMaskedLM:
        """Small, pre-norm, rotary positions, gated feed-forward, full attention in every layer."""
        config = ModernBertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=640,
            global_attn_every_n_layers=1,
            max_position_embeddings=128,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            cls_token_id=self.tokenizer.cls_token_id,
            sep_token_id=self.tokenizer.sep_token_id,
        )
        return ModernBertForMaskedLM(config)

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(same_length_batches, self.groups, tokens), seed, first_step)

    def loss(self, model: ModernBertForMaskedLM, batch: Tensor, phase: MaskedPhase, rng: torch.Generator) -> Tensor:
        """Mean ``-log p`` (nats) of hidden tokens of ``int64 [rows, length]``; the head runs on them only."""
        mask = draw_mask(batch, phase.mask_power, rng)
        masked = batch.masked_fill(mask, self.tokenizer.mask_token_id)
        hidden = model.model(input_ids=masked).last_hidden_state[mask]
        return torch.nn.functional.cross_entropy(model.decoder(model.head(hidden)), batch[mask])

    def quick_figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return self._pseudo_log_likelihood(model, self.held_out[:QUICK_CHECK])

    def figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return {"sentences": len(self.held_out), **self._pseudo_log_likelihood(model, self.held_out)}

    def _pseudo_log_likelihood(self, model: ModernBertForMaskedLM, texts: list[str]) -> dict[str, float]:
        """As the sampler computes it."""
        lm = MaskedLM(model, self.tokenizer)
        energy, nats, tokens = MaskedEnergy(lm, "pll"), 0.0, 0
        with torch.inference_mode():
            for start in range(0, len(texts), 500):
                x = lm.space.encode(texts[start : start + 500])
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
