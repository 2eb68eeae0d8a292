"""Warm starts copy what they say: the copy computes what the original computes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from experiments.training.warm_start import warm_start_causal, warm_start_seq2seq

VOCABULARY, WIDTH, LAYERS = 40, 16, 3
ROUNDING = 1e-6  # Llama's norms and rotary angles are float32, whatever the model is


@pytest.fixture
def masked():
    """Random weights far from their first ones, norms too; embeddings of mean 0 and size 1, so norming changes none."""
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        global_attn_every_n_layers=1,
        max_position_embeddings=32,
        **{f"{name}_token_id": i for i, name in enumerate(("pad", "bos", "eos", "cls", "sep"))},
        norm_eps=1e-12,
    )
    model = ModernBertForMaskedLM(config).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape) if weight.dim() > 1 else 0.5 + torch.rand(weight.shape))
        words = model.model.embeddings.tok_embeddings.weight
        words.copy_(torch.nn.functional.layer_norm(words, [WIDTH], eps=0.0))
        model.model.embeddings.norm.weight.fill_(1.0)
    return model


def llama(masked, **changed):
    shape = masked.config
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        hidden_act=shape.hidden_activation,
        rms_norm_eps=shape.norm_eps,
        tie_word_embeddings=True,
        **{"rope_parameters": shape.rope_parameters["full_attention"], **changed},
    )
    model = LlamaForCausalLM(config).double().eval()
    warm_start_causal(model, masked)
    return model


def difference(ours, wanted):
    return ((ours - wanted).norm() / wanted.norm()).item()


def without_causal_mask(model, ids):
    """What the layers of a Llama make of ``ids`` if every token sees all."""
    streams = []
    hook = model.model.norm.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
    rows, length = ids.shape
    model.model(input_ids=ids, attention_mask=torch.zeros(rows, 1, length, length, dtype=torch.float64))
    hook.remove()
    return streams[0]


@torch.no_grad()
def test_the_layers_of_the_causal_model_compute_what_the_masked_ones_do(masked):
    ids = torch.randint(1, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(1))
    streams = []
    masked.model.final_norm.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
    masked(input_ids=ids)
    wanted = streams[0] - streams[0].mean(dim=-1, keepdim=True)  # a LayerNorm sees no mean
    assert difference(without_causal_mask(llama(masked), ids), wanted) < ROUNDING
    other = llama(masked, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
    assert difference(without_causal_mask(other, ids), wanted) > 1000 * ROUNDING


@torch.no_grad()
def test_the_causal_head_is_the_masked_heads_last_part(masked):
    words = masked.model.embeddings.tok_embeddings.weight
    words *= torch.linspace(1, 3, VOCABULARY, dtype=torch.float64).unsqueeze(1)
    model = llama(masked)
    state = torch.nn.functional.layer_norm(torch.randn(4, WIDTH, dtype=torch.float64), [WIDTH])
    logits = model.lm_head(model.model.norm(state))
    assert difference(logits, masked.head.norm(state) @ words.T) < ROUNDING


@torch.no_grad()
def test_the_seq2seq_model_gets_known_words_and_feed_forwards(masked):
    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=24, num_layers=LAYERS, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, layer_norm_epsilon=1e-12,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).double()
    before = model.shared.weight.clone()
    known = torch.arange(VOCABULARY) % 3 > 0
    warm_start_seq2seq(model, masked, known)
    words, old = model.shared.weight, masked.model.embeddings.tok_embeddings.weight
    assert model.lm_head.weight is words
    assert torch.equal(words[~known], before[~known])
    assert words[known].std().item() == pytest.approx(1.0)
    # Likelihoods within the known words are those of the masked model, up to a temperature.
    state = torch.randn(2, WIDTH, dtype=torch.float64)
    ratio = old[known].sub(old[known].mean(dim=0)).std()
    ours = (state @ words[known].T * ratio).log_softmax(dim=1)
    assert ours == pytest.approx((state @ old[known].T).log_softmax(dim=1))
    stream = torch.nn.functional.layer_norm(torch.randn(5, WIDTH, dtype=torch.float64), [WIDTH])
    for theirs, block in zip(masked.model.layers, model.encoder.block, strict=True):
        written = theirs.mlp(theirs.mlp_norm(stream))
        ours = block.layer[-1](stream.unsqueeze(0)).squeeze(0) - stream
        # T5's GELU is the tanh approximation.
        assert ours == pytest.approx(written - written.mean(dim=1, keepdim=True), abs=2e-2)
        assert torch.equal(block.layer[-1].DenseReluDense.wi_0.weight, theirs.mlp.Wi.weight[:24])
