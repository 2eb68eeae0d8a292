"""What single classes need beyond the rules, to be tiny and complete."""

from __future__ import annotations

from typing import Any

__all__ = ["OVERRIDES"]

BERT = {"vocab_size": 133, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}

OVERRIDES: dict[str | tuple[str, str], dict[str, Any]] = {
    "esm": {"vocab_size": 133, "mask_token_id": 4, "pad_token_id": 0},
    "mpnet": {"relative_attention_num_buckets": 32},
    "encoder-decoder": {
        "encoder": {"model_type": "bert", **BERT},
        "decoder": {"model_type": "bert", "is_decoder": True, "add_cross_attention": True, **BERT},
    },
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "attn_layers": ["local", "lsh"],
        "is_decoder": True,
    },
    "perceiver": {"num_latents": 8, "d_latents": 32, "d_model": 32, "qk_channels": 16, "v_channels": 32},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "neomme": {"head_dim": 16},
    ("masked", "reformer"): {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "attn_layers": ["local", "lsh"],
        "is_decoder": False,
    },
    "deepseek_v2": {"topk_method": "greedy", "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"layers_block_type": ["mamba", "attention"] * 2},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "dbrx": {
        "attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48},
    },
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"head_dim": 4, "qk_rope_head_dim": 4},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2},
    "xlstm": {"num_heads": 4, "hidden_size": 64},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "dots3_note": {"text_config": {"per_layer_config": {}}},
    "dots3_note_text": {"per_layer_config": {}},
}
