"""Names of version 0.1; use the classes."""

from lm_adapters.models.sentence_encoder import SentenceEncoder
from lm_adapters.proposals.shortlist import RescoredReplace

__all__ = ["load_encoder", "rescored_replace"]

load_encoder = SentenceEncoder.from_pretrained
rescored_replace = RescoredReplace
