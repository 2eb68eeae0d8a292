"""A tiny configuration of any class of transformers: its own defaults, with small numbers in place of large ones."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from transformers import PretrainedConfig

__all__ = ["tiny_config"]

KEPT, VOCABULARY = -1, 0
# The first pattern that matches a field's name gives its value, if its default is a larger integer.
RULES: list[tuple[str, int]] = [
    (r".*(kernel|stride|padding|conv_bias|dilation).*|d_conv|ssm_conv.*|.*conv_size|conv_L_cache", KEPT),
    (r".*index_topk.*", KEPT),  # of the keys that a token may see
    (r".*(version|seed|bits|tp|dtype|every|interval|round|power|iters).*", KEPT),
    (r"type_vocab_size|num_labels|num_choices|.*(nextn|mtp|predict|ngram|num_codebooks).*", KEPT),
    (r".*vocab_size.*|n_vocab|num_embeddings|.*vocab", VOCABULARY),
    (r".*(num|n)_?(\w+_)?experts?$|num_experts|moe_num_experts|n_routed.*|.*num_local_experts", 4),
    (r".*n_groups?|topk_group|.*num_groups|.*shared_experts?", 1),
    (r".*(position|context_length|seq_len|n_ctx|sequence_length|max_length|max_target|max_source).*", 64),
    (r"(encoder|decoder)_layers", 2),
    (r".*(experts?_(per|top)|per_tok|top_?k).*|moe_k", 2),
    (r".*first_k_dense.*|.*dense_layers?|.*num_dense.*", 1),
    (r".*period|layer_group_size", 2),
    (r".*offset", 1),
    (r".*(kv_?heads|key_value_heads?|kv_head|head_kv|kv_groups).*|multi_query_groups", 2),
    (r".*heads?", 4),
    (r".*rope_head_dim|rotary_dim|.*rotary_ndims|.*rope_dim", 4),
    (r".*head_(dim|size)|d_kv|d_head|headdim|kv_channels|.*(key|value)_dim|size_per_head", 8),
    (r".*(rank|lora).*", 8),
    (r".*(layer|block)s?(_num|_count)?|depth", 4),
    (r".*(intermediate|ffn|ff_|feed_?forward|inner|mlp|d_ff|ffw|hidden_dim).*(?<!ratio)", 48),
    (r".*(state_size|d_state|ssm_size|mamba_n_state|state_dim|num_memory|memory_len|mem_len).*", 8),
    (r".*(hidden_size|d_model|n_embd|embed_dim|embedding_size|model_dim|n_embed|emb_dim|lru_width).*", 32),
    (r".*dim|.*_size_per_layer.*|hidden|projection_size|width|.*channels", 32),
    (r".*(window|local_attention|chunk|span|block_size|buckets|max_distance).*", 8),
    (r".*(image_size|patch|spatial|temporal|resolution|mel|num_queries|codebook).*", 8),
]
IDS = re.compile(r".*token_id.*|.*_token_index|.*_token")


def tiny_config(kind: type[PretrainedConfig], vocabulary: int, **more: Any) -> PretrainedConfig:
    """A configuration of the class ``kind`` for so many tokens; ``more`` replaces what the rules give."""
    return kind(**_merged(_small(kind, vocabulary), more))


def _merged(facts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """``more`` over ``facts``, parts of parts too; a value ``...`` leaves the default."""
    for name, value in more.items():
        if value is ...:
            facts.pop(name, None)
        elif isinstance(value, dict) and isinstance(facts.get(name), dict):
            _merged(facts[name], value)
        else:
            facts[name] = value
    return facts


def _small(kind: type[PretrainedConfig], vocabulary: int) -> dict[str, Any]:
    parts = getattr(kind, "sub_configs", {}) or {}
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    heads = next((fields[name] for name in ("num_attention_heads", "n_head", "num_heads") if name in fields), None)
    values: dict[str, Any] = {}
    for name, default in fields.items():
        if name in parts:
            values[name] = _part(kind, name, parts[name], vocabulary)
        elif isinstance(default, int) and not isinstance(default, bool):
            small = next((value for pattern, value in RULES if re.fullmatch(pattern, name)), KEPT)
            if small == 2 and "heads" in name and default == heads:  # as many keys as queries
                small = 4
            if IDS.fullmatch(name):  # no token of a text
                small = vocabulary - 1
            small = vocabulary if small == VOCABULARY else small
            if 0 < small < default:
                values[name] = small
    return {name: value for name, value in values.items() if value is not None}


def _part(kind: type[PretrainedConfig], name: str, part: Any, vocabulary: int) -> dict[str, Any] | None:
    """The facts of a configuration within the configuration."""
    if not dataclasses.is_dataclass(part):
        try:
            part = type(getattr(kind(), name))
        except Exception:  # some have no defaults
            return None
        if part is type(None):
            return None
    return _small(part, vocabulary) | {"model_type": part.model_type}
