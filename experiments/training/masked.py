"""The embedded masked language model: its shape and what it learns from."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

__all__ = ["build_masked", "draw_mask", "masked_loss"]


def build_masked(tokenizer: PreTrainedTokenizerFast) -> ModernBertForMaskedLM:
    """A small ModernBERT: pre-norm, rotary positions, gated feed-forward, full attention in every layer."""
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=640,
        global_attn_every_n_layers=1,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    return ModernBertForMaskedLM(config)


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


def masked_loss(model: ModernBertForMaskedLM, rows: Tensor, mask: Tensor, mask_token_id: int) -> Tensor:
    """Mean ``-log p`` (nats) of the hidden tokens of ``int64 [rows, length]``; the head runs on them only."""
    hidden = model.model(input_ids=rows.masked_fill(mask, mask_token_id)).last_hidden_state[mask]
    return torch.nn.functional.cross_entropy(model.decoder(model.head(hidden)), rows[mask])
