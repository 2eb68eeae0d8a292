"""Loading of models from Hugging Face files, which are untrusted input, and fingerprints of models."""

from lm_adapters.fingerprint import model_fingerprint
from lm_adapters.loading.pretrained import check_dtype
from lm_adapters.loading.tokenizer import load_space, load_tokenizer, target_space

__all__ = ["check_dtype", "load_space", "load_tokenizer", "model_fingerprint", "target_space"]
