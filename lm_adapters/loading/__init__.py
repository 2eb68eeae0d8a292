"""Loading of models from Hugging Face files, which are untrusted input, and fingerprints of models."""

from lm_adapters.fingerprint import model_fingerprint
from lm_adapters.loading.pretrained import check_dtype

__all__ = ["check_dtype", "model_fingerprint"]
