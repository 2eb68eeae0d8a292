from .attributes.labels import LabelEnergy, TextClassifier, label_number
from .attributes.next_sentence import Coherence, NextSentenceModel
from .attributes.sequence_classifier import SequenceClassifier
from .attributes.zero_shot import ZeroShotClassifier
from .drawing.adaptive_rejection import AdaptiveDraws, AdaptiveRejection
from .drawing.continuation import Continuation
from .drawing.nucleus_reader import NucleusReader
from .drawing.power_distribution import PowerDistribution
from .drawing.stopped_energy import StoppedEnergy
from .drawing.suffix_smc import SuffixSMC
from .drawing.word_boost import WordBoost
from .energies.blockwise_energy import BlockwiseEnergy
from .energies.distance import EditDistance, SourceBleu
from .energies.lengths import LengthPrior, LengthRange, PerToken
from .energies.masked_energy import MaskedEnergy
from .energies.nucleus_energy import NucleusEnergy
from .energies.reconstruction import Reconstruction
from .energies.retokenized import Canonical, ThroughText
from .energies.sequence_energy import SequenceEnergy
from .energies.similarity import Similarity
from .energies.text_energy import TextEnergy
from .former_names import load_encoder, rescored_replace
from .grammars.grammar import Grammar
from .grammars.matches import Matches
from .grammars.next_tokens import NextTokens
from .grammars.possible import check_possible
from .latent.vae_density import SentenceVAE, VAEDensity, VAEScores
from .loading.pretrained import DTYPES, check_device, labels_of, load_pretrained, task_of, tasks_of
from .locks.base import Lock
from .locks.keywords import Keywords
from .locks.template import Template
from .meaning.clouds import CloudDistances, cloud_distances
from .meaning.cross_scores import CrossScores
from .meaning.whitening import Whitened
from .models.autoregressive import Autoregressive
from .models.causal_lm import CausalLM, PromptedLM
from .models.language_model import LanguageModel
from .models.masked_lm import MaskedLM
from .models.mixed_reader import MixedReader
from .models.pair_scores import pair_log_probs
from .models.sentence_encoder import MeanPooled, SentenceEncoder
from .models.seq2seq_lm import Seq2SeqLM
from .phrases.best_first import BestPhrases, best_phrases
from .phrases.distribution import PhraseDistribution
from .phrases.look_ahead import LookAhead
from .phrases.phrases import Phrases
from .phrases.proposal import PhraseProposal
from .phrases.slot_reader import around_slot, slot_reader
from .proposals.edits import EditProposal
from .proposals.gibbs_proposal import GibbsProposal
from .proposals.held_texts import HeldTexts
from .proposals.keyword_fill import KeywordFill, fill_masks
from .proposals.left_to_right_fill import LeftToRightFill
from .proposals.respell import RespellProposal
from .proposals.sequence_distribution import SequenceDistribution
from .proposals.sequential_block import SequentialBlock
from .proposals.shortlist import RescoredReplace
from .proposals.suffix import SuffixProposal
from .proposals.swap import SwapProposal
from .proposals.template_fill import TemplateFill
from .proposals.truncation import Truncation
from .remote.remote_lm import RemoteEnergy, RemoteLM, load_remote
from .remote.server import ServerError, is_remote
from .rewriting.rewrite import RewriteProposal
from .rewriting.slot import SlotProposal
from .rewriting.source_batch import SourceBatch
from .rewriting.span import SpanProposal
from .rewriting.tasks import fills_spans, same_tokens, writes_words
from .text import TextSpace
from .wording.new_texts import KnownTexts, NewTexts
from .wording.real_words import RealWords, WordList
from .wording.words import (
    ForbiddenWords,
    RepeatedNgrams,
    WordLimit,
    check_compatible,
    repeated_ngrams,
    word_spans,
)

__all__ = [
    "DTYPES",
    "AdaptiveDraws",
    "AdaptiveRejection",
    "Autoregressive",
    "BestPhrases",
    "BlockwiseEnergy",
    "Canonical",
    "CausalLM",
    "CloudDistances",
    "Coherence",
    "Continuation",
    "CrossScores",
    "EditDistance",
    "EditProposal",
    "ForbiddenWords",
    "GibbsProposal",
    "Grammar",
    "HeldTexts",
    "KeywordFill",
    "Keywords",
    "KnownTexts",
    "LabelEnergy",
    "LanguageModel",
    "LeftToRightFill",
    "LengthPrior",
    "LengthRange",
    "Lock",
    "LookAhead",
    "MaskedEnergy",
    "MaskedLM",
    "Matches",
    "MeanPooled",
    "MixedReader",
    "NewTexts",
    "NextSentenceModel",
    "NextTokens",
    "NucleusEnergy",
    "NucleusReader",
    "PerToken",
    "PhraseDistribution",
    "PhraseProposal",
    "Phrases",
    "PowerDistribution",
    "PromptedLM",
    "RealWords",
    "Reconstruction",
    "RemoteEnergy",
    "RemoteLM",
    "RepeatedNgrams",
    "RescoredReplace",
    "RespellProposal",
    "RewriteProposal",
    "SentenceEncoder",
    "SentenceVAE",
    "Seq2SeqLM",
    "SequenceClassifier",
    "SequenceDistribution",
    "SequenceEnergy",
    "SequentialBlock",
    "ServerError",
    "Similarity",
    "SlotProposal",
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
    "VAEDensity",
    "VAEScores",
    "Whitened",
    "WordBoost",
    "WordLimit",
    "WordList",
    "ZeroShotClassifier",
    "around_slot",
    "best_phrases",
    "check_compatible",
    "check_device",
    "check_possible",
    "cloud_distances",
    "fill_masks",
    "fills_spans",
    "is_remote",
    "label_number",
    "labels_of",
    "load_encoder",
    "load_pretrained",
    "load_remote",
    "pair_log_probs",
    "repeated_ngrams",
    "rescored_replace",
    "same_tokens",
    "slot_reader",
    "task_of",
    "tasks_of",
    "word_spans",
    "writes_words",
]
