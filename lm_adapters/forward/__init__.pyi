from .batching import passes
from .kv_cache import Layers, Prefixes, as_cache, cache_layers, expand_layers
from .lm_head import HeadOnRows
from .model_inputs import max_positions, with_special_tokens
from .oom import is_out_of_memory

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
