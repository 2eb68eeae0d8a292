"""Forward passes: batching, memory, the vocabulary head at chosen positions, key-value caches."""

from lm_adapters.forward.batching import passes
from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, cache_layers, expand_layers
from lm_adapters.forward.lm_head import HeadOnRows
from lm_adapters.forward.model_inputs import max_positions, with_special_tokens
from lm_adapters.forward.oom import is_out_of_memory

__all__ = [
    "HeadOnRows",
    "Layers",
    "Prefixes",
    "as_cache",
    "cache_layers",
    "expand_layers",
    "is_out_of_memory",
    "max_positions",
    "passes",
    "with_special_tokens",
]
