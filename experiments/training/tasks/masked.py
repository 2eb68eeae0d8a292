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
    by_length,
    embedded_tokenizer,
    english_split,
    epochs,
    same_length_batches,
)
from experiments.training.grow import grow
from experiments.training.output_tokens import OutputTokens, mean_nats
from experiments.training.recipe import Recipe
from experiments.training.tasks.task import Task
from lm_adapters import MaskedEnergy, MaskedLM, load_pretrained

__all__ = ["MaskedTask", "draw_mask"]

QUICK_CHECK = 500  # held-out sentences scored along the way; the card's figures use all of them
LAYERS = 6
MASK_POWER = 5  # a share ``0.1 + 0.9 u^MASK_POWER`` of each sentence is masked


class MaskedTask(Task):
    """A ModernBERT that fills masks in English sentences."""

    name, kind, card = "masked-en", "masked", cards.MASKED
    facts = MappingProxyType({"mask_power": MASK_POWER})
    dropped = ("embeddings", "Wo")
    recipe = Recipe(rate=1.5e-3, steady=6_000, decay=1_000, batch_tokens=6144, dropout=0.05)

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        training, self.held_out = english_split(corpus)
        self.groups = by_length(tokenizer, training, MAX_LENGTH)
        self.output = OutputTokens(self.groups.values(), len(tokenizer))
        self.epoch_tokens = sum(rows.numel() for rows in self.groups.values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return embedded_tokenizer()

    def build(self) -> ModernBertForMaskedLM:
        """Computes what the embedded model does, in a shape that may be deeper."""
        small, _ = load_pretrained("masked", "masked-en")
        changed = {"num_hidden_layers": LAYERS, "layer_types": ["full_attention"] * LAYERS, "dtype": "float32"}
        config = ModernBertConfig(**{**small.config.to_dict(), **changed, "attn_implementation": "eager"})
        model = ModernBertForMaskedLM(config)
        grow(model, small, writes=("Wo",))
        return model

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(same_length_batches, self.groups, tokens), seed, first_step)

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
