"""Start a model from the weights of the masked one: most of what it has to learn is known there."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, ModernBertForMaskedLM, T5ForConditionalGeneration

__all__ = ["warm_start_causal", "warm_start_seq2seq"]


@torch.no_grad()
def warm_start_causal(model: LlamaForCausalLM, masked: ModernBertForMaskedLM) -> None:
    """Make a Llama compute, layer by layer, what a ModernBERT of its shape computes, but for the causal mask.

    Why: words, their neighbours' influence and the rotary positions are the same in both directions, and training
    from nothing would spend most of its tokens on learning them again. What differs:

    - ModernBERT's ``Wqkv`` is Llama's q, k and v one below the other; the heads, and the pairs of coordinates that are
      rotated, are cut the same way, so the rotary base must be the same.
    - Its ``Wi`` is (activated, gate), Llama's ``gate_proj`` (the activated one) and ``up_proj``.
    - A LayerNorm without bias is an RMSNorm with the same weights wherever coordinates have mean zero. Whatever writes
      to the residual stream loses its mean here, which no LayerNorm sees (Ashkboos et al. 2024, arXiv:2401.15024).
    - ModernBERT normalises embeddings before the first layer, Llama in it. They are scaled so that the stream starts
      as large as it did, and the last norm gives the factor back; that norm is the masked head's, the one that reads
      the embeddings as output. The head's own layer, and its bias, have no place in a Llama.
    """
    old, new = masked.model, model.model
    words = old.embeddings.tok_embeddings.weight
    centred = _without_mean(words)
    scale = (old.embeddings(inputs_embeds=words).norm(dim=1) / centred.norm(dim=1)).median()
    new.embed_tokens.weight.copy_(scale * centred)
    new.norm.weight.copy_(masked.head.norm.weight / scale)
    new.layers[0].input_layernorm.weight.copy_(old.embeddings.norm.weight)
    for theirs, ours in zip(old.layers[1:], new.layers[1:], strict=True):
        ours.input_layernorm.weight.copy_(theirs.attn_norm.weight)
    for theirs, ours in zip(old.layers, new.layers, strict=True):
        attention, mlp = ours.self_attn, ours.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        for part, weight in zip(parts, theirs.attn.Wqkv.weight.chunk(3), strict=True):
            part.weight.copy_(weight)
        attention.o_proj.weight.copy_(_without_mean(theirs.attn.Wo.weight.T).T)
        ours.post_attention_layernorm.weight.copy_(theirs.mlp_norm.weight)
        for part, weight in zip((mlp.gate_proj, mlp.up_proj), theirs.mlp.Wi.weight.chunk(2), strict=True):
            part.weight.copy_(weight)
        mlp.down_proj.weight.copy_(_without_mean(theirs.mlp.Wo.weight.T).T)


@torch.no_grad()
def warm_start_seq2seq(model: T5ForConditionalGeneration, masked: ModernBertForMaskedLM, known: Tensor) -> None:
    """Give a T5 the masked model's embeddings of the ``known`` words (``bool [vocabulary]``) and its feed-forwards.

    Words that the masked model hardly met in training, most of the French ones, all have the same vector there, the one
    that is never likely; they keep their random one. What all known vectors have in common changes no softmax and tells
    no words apart: it is taken off. The rest is scaled to the unit deviation that T5 starts with, since T5 divides by
    the root of the width before the output.

    Attention stays as it was drawn: T5's sees positions through a bias, not through rotated keys. The feed-forwards
    (in the encoder) know nothing of positions; for their norms see ``warm_start_causal``.
    """
    words = masked.model.embeddings.tok_embeddings.weight[known]
    words = words - words.mean(dim=0)
    model.shared.weight[known] = words / words.std()
    for theirs, ours in zip(masked.model.layers, model.encoder.block, strict=True):
        feed_forward = ours.layer[-1]
        feed_forward.layer_norm.weight.copy_(theirs.mlp_norm.weight)
        parts = (feed_forward.DenseReluDense.wi_0, feed_forward.DenseReluDense.wi_1)
        for part, weight in zip(parts, theirs.mlp.Wi.weight.chunk(2), strict=True):
            part.weight.copy_(weight)
        feed_forward.DenseReluDense.wo.weight.copy_(_without_mean(theirs.mlp.Wo.weight.T).T)


def _without_mean(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=1, keepdim=True)
