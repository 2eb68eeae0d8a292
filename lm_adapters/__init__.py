"""Language models as proposals and energies. Importing this package imports torch; transformers only on loading."""

from lm_adapters.autoregressive import Autoregressive
from lm_adapters.causal_lm import CausalLM, PromptedLM
from lm_adapters.constraints import (
    ForbiddenWords,
    LengthPrior,
    LengthRange,
    PerToken,
    WordLimit,
    check_compatible,
)
from lm_adapters.distance import EditDistance, SourceBleu
from lm_adapters.edits import EditProposal
from lm_adapters.fill import KeywordFill, fill_masks
from lm_adapters.gibbs_proposal import GibbsProposal
from lm_adapters.keywords import Keywords
from lm_adapters.loading import DTYPES, check_device, load_pretrained, task_of
from lm_adapters.locks import Lock
from lm_adapters.masked_lm import MaskedEnergy, MaskedLM
from lm_adapters.reconstruction import Reconstruction
from lm_adapters.sentence_encoder import MeanPooled, SentenceEncoder, load_encoder
from lm_adapters.seq2seq_lm import Seq2SeqLM
from lm_adapters.sequence_distribution import SequenceDistribution
from lm_adapters.sequence_energy import SequenceEnergy
from lm_adapters.shortlist import rescored_replace
from lm_adapters.similarity import Similarity
from lm_adapters.suffix import SuffixProposal
from lm_adapters.swap import SwapProposal
from lm_adapters.template import Template
from lm_adapters.text import TextSpace
from lm_adapters.text_energy import TextEnergy
from lm_adapters.through_text import ThroughText
from lm_adapters.truncation import Truncation

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
