"""Language models as proposals and energies. Importing this package imports torch; transformers only on loading."""

from lm_adapters.attributes.labels import LabelEnergy, TextClassifier
from lm_adapters.attributes.next_sentence import Coherence, NextSentenceModel
from lm_adapters.attributes.sequence_classifier import SequenceClassifier
from lm_adapters.attributes.zero_shot import ZeroShotClassifier
from lm_adapters.drawing.adaptive_rejection import AdaptiveDraws, AdaptiveRejection
from lm_adapters.drawing.continuation import Continuation
from lm_adapters.drawing.power_distribution import PowerDistribution
from lm_adapters.drawing.stopped_energy import StoppedEnergy
from lm_adapters.drawing.suffix_smc import SuffixSMC
from lm_adapters.energies.blockwise_energy import BlockwiseEnergy
from lm_adapters.energies.distance import EditDistance, SourceBleu
from lm_adapters.energies.lengths import LengthPrior, LengthRange, PerToken
from lm_adapters.energies.masked_energy import MaskedEnergy
from lm_adapters.energies.nucleus_energy import NucleusEnergy
from lm_adapters.energies.real_words import RealWords, WordList
from lm_adapters.energies.reconstruction import Reconstruction
from lm_adapters.energies.retokenized import Canonical, ThroughText
from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.energies.similarity import Similarity
from lm_adapters.energies.text_energy import TextEnergy
from lm_adapters.energies.words import ForbiddenWords, WordLimit, check_compatible, word_spans
from lm_adapters.loading.pretrained import DTYPES, check_device, labels_of, load_pretrained, task_of, tasks_of
from lm_adapters.locks.base import Lock
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.causal_lm import CausalLM, PromptedLM
from lm_adapters.models.language_model import LanguageModel
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.models.pair_scores import pair_log_probs
from lm_adapters.models.sentence_encoder import MeanPooled, SentenceEncoder
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.phrases.distribution import PhraseDistribution
from lm_adapters.phrases.look_ahead import LookAhead
from lm_adapters.phrases.phrases import Phrases
from lm_adapters.phrases.proposal import PhraseProposal
from lm_adapters.proposals.edits import EditProposal
from lm_adapters.proposals.gibbs_proposal import GibbsProposal
from lm_adapters.proposals.held_texts import HeldTexts
from lm_adapters.proposals.keyword_fill import KeywordFill, fill_masks
from lm_adapters.proposals.left_to_right_fill import LeftToRightFill
from lm_adapters.proposals.respell import RespellProposal
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.sequential_block import SequentialBlock
from lm_adapters.proposals.shortlist import RescoredReplace
from lm_adapters.proposals.suffix import SuffixProposal
from lm_adapters.proposals.swap import SwapProposal
from lm_adapters.proposals.template_fill import TemplateFill
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.rewriting.rewrite import RewriteProposal
from lm_adapters.rewriting.source_batch import SourceBatch
from lm_adapters.rewriting.span import SpanProposal
from lm_adapters.rewriting.tasks import fills_spans, same_tokens, writes_words
from lm_adapters.text import TextSpace

__all__ = [
    "DTYPES",
    "AdaptiveDraws",
    "AdaptiveRejection",
    "Autoregressive",
    "BlockwiseEnergy",
    "Canonical",
    "CausalLM",
    "Coherence",
    "Continuation",
    "EditDistance",
    "EditProposal",
    "ForbiddenWords",
    "GibbsProposal",
    "HeldTexts",
    "KeywordFill",
    "Keywords",
    "LabelEnergy",
    "LanguageModel",
    "LeftToRightFill",
    "LengthPrior",
    "LengthRange",
    "Lock",
    "LookAhead",
    "MaskedEnergy",
    "MaskedLM",
    "MeanPooled",
    "NextSentenceModel",
    "NucleusEnergy",
    "PerToken",
    "PhraseDistribution",
    "PhraseProposal",
    "Phrases",
    "PowerDistribution",
    "PromptedLM",
    "RealWords",
    "Reconstruction",
    "RescoredReplace",
    "RespellProposal",
    "RewriteProposal",
    "SentenceEncoder",
    "Seq2SeqLM",
    "SequenceClassifier",
    "SequenceDistribution",
    "SequenceEnergy",
    "SequentialBlock",
    "Similarity",
    "SourceBatch",
    "SourceBleu",
    "SpanProposal",
    "StoppedEnergy",
    "SuffixProposal",
    "SuffixSMC",
    "SwapProposal",
    "Template",
    "TemplateFill",
    "TextClassifier",
    "TextEnergy",
    "TextSpace",
    "ThroughText",
    "Truncation",
    "WordLimit",
    "WordList",
    "ZeroShotClassifier",
    "check_compatible",
    "check_device",
    "fill_masks",
    "fills_spans",
    "labels_of",
    "load_pretrained",
    "pair_log_probs",
    "same_tokens",
    "task_of",
    "tasks_of",
    "word_spans",
    "writes_words",
]

# Names of version 0.1; use the classes.
load_encoder = SentenceEncoder.from_pretrained
rescored_replace = RescoredReplace
