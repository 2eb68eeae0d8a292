"""Language models as proposals and energies. Importing this package imports torch; transformers only on loading."""

from lm_adapters.energies.constraints import (
    ForbiddenWords,
    LengthPrior,
    LengthRange,
    PerToken,
    WordLimit,
    check_compatible,
)
from lm_adapters.energies.distance import EditDistance, SourceBleu
from lm_adapters.energies.reconstruction import Reconstruction
from lm_adapters.energies.retokenized import ThroughText
from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.energies.similarity import Similarity
from lm_adapters.energies.text_energy import TextEnergy
from lm_adapters.loading.pretrained import DTYPES, check_device, load_pretrained, task_of
from lm_adapters.locks.base import Lock
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.causal_lm import CausalLM, PromptedLM
from lm_adapters.models.masked_lm import MaskedEnergy, MaskedLM
from lm_adapters.models.sentence_encoder import MeanPooled, SentenceEncoder, load_encoder
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.proposals.edits import EditProposal
from lm_adapters.proposals.gibbs_proposal import GibbsProposal
from lm_adapters.proposals.keyword_fill import KeywordFill, fill_masks
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.shortlist import rescored_replace
from lm_adapters.proposals.suffix import SuffixProposal
from lm_adapters.proposals.swap import SwapProposal
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.text import TextSpace

__all__ = [
    "DTYPES",
    "Autoregressive",
    "CausalLM",
    "EditDistance",
    "EditProposal",
    "ForbiddenWords",
    "GibbsProposal",
    "KeywordFill",
    "Keywords",
    "LengthPrior",
    "LengthRange",
    "Lock",
    "MaskedEnergy",
    "MaskedLM",
    "MeanPooled",
    "PerToken",
    "PromptedLM",
    "Reconstruction",
    "SentenceEncoder",
    "Seq2SeqLM",
    "SequenceDistribution",
    "SequenceEnergy",
    "Similarity",
    "SourceBleu",
    "SuffixProposal",
    "SwapProposal",
    "Template",
    "TextEnergy",
    "TextSpace",
    "ThroughText",
    "Truncation",
    "WordLimit",
    "check_compatible",
    "check_device",
    "fill_masks",
    "load_encoder",
    "load_pretrained",
    "rescored_replace",
    "task_of",
]
