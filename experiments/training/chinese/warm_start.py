"""Start the Chinese masked model from the causal one: characters, and what neighbours do to them, are known there."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, ModernBertForMaskedLM

__all__ = ["warm_start_masked"]


@torch.no_grad()
def warm_start_masked(model: ModernBertForMaskedLM, causal: LlamaForCausalLM) -> None:
    """Give a ModernBERT the weights of a Llama of its shape, so that each layer computes nearly the same.

    Why: a masked model learns from a third of the tokens of a batch, a causal one from all of them. Only what follows
    from seeing both sides, and from writing a token where its mask is, is left to learn. What differs:

    - ModernBERT's ``Wqkv`` is Llama's q, k and v one below the other, its ``Wi`` ``gate_proj`` above ``up_proj``; the
      rotary base must be the same.
    - A LayerNorm without bias is an RMSNorm with the same weights where coordinates have mean zero. Whatever writes to
      the residual stream loses its mean here, which no LayerNorm sees (Ashkboos et al. 2024, arXiv:2401.15024).
    - ModernBERT normalises embeddings before the first layer, Llama in it: that norm gets their size, and the first
      layer's ``Wqkv`` the weights of the norm that it lacks.
    - The head's own layer begins as the identity, with ``classifier_activation="linear"``.
    """
    old, new = causal.model, model.model
    words = _without_mean(old.embed_tokens.weight)
    size = words.square().mean(dim=1).sqrt().median()
    new.embeddings.tok_embeddings.weight.copy_(words)
    new.embeddings.norm.weight.fill_(size)
    for number, (theirs, ours) in enumerate(zip(old.layers, new.layers, strict=True)):
        attention, mlp = theirs.self_attn, theirs.mlp
        reads = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
        if number == 0:
            reads = reads * (theirs.input_layernorm.weight / size)
        else:
            ours.attn_norm.weight.copy_(theirs.input_layernorm.weight)
        ours.attn.Wqkv.weight.copy_(reads)
        ours.attn.Wo.weight.copy_(_without_mean(attention.o_proj.weight.T).T)
        ours.mlp_norm.weight.copy_(theirs.post_attention_layernorm.weight)
        ours.mlp.Wi.weight.copy_(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        ours.mlp.Wo.weight.copy_(_without_mean(mlp.down_proj.weight.T).T)
    torch.nn.init.eye_(model.head.dense.weight)
    model.head.norm.weight.copy_(old.norm.weight)


def _without_mean(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=1, keepdim=True)
