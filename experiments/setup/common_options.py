"""Options that several experiments share, though not all."""

from __future__ import annotations

from experiments.declaration.arguments import Option

__all__ = [
    "ANNEAL_OR_SAMPLE",
    "ANNEAL_SAMPLE_OR_SMC",
    "ENCODER",
    "GIVEN_SIMILARITY",
    "GRAMMAR",
    "JSON_SCHEMA",
    "LENGTH",
    "MOVES",
    "PARTICLES",
    "PATTERN",
    "POPULATIONS",
    "PREFIX",
    "SCORER",
    "SENTENCE_SCORER",
    "SHORTLIST",
    "SIMILARITY",
    "SOURCE_LANG",
    "TARGET_LANG",
    "TOP_P",
    "WHITEN",
    "WORDS",
]

WORDS = Option(
    'Words or phrases that every text holds, each as a whole word: "ladder" is not in "ladders", "ladder\'s" or '
    '"ladder-like".',
    metavar="WORD...",
    energies=["Keywords"],
)
SCORER = Option("Language model whose -log p is the fluency.", energies=["SequenceEnergy"])
SENTENCE_SCORER = Option(
    "Model that scores the texts: a seq2seq model with the task words_to_sentence by -log p of a text given the words, "
    "a causal or masked one by its fluency, -log p.",
    energies=["SequenceEnergy"],
    task="words_to_sentence",
)
TOP_P = Option(
    "The scorer's -log p is that of sampling with this nucleus: renormalised inside, forbidden outside; words that are "
    "given are exempt. For scorers that read from left to right.",
    energies=["NucleusEnergy"],
)
PATTERN = Option("The whole text matches this regular expression.", metavar="REGEX", energies=["Matches"])
GRAMMAR = Option(
    "The text is one of the context-free grammar in this file, in Lark's notation, from its rule start.", metavar="FILE"
)
JSON_SCHEMA = Option(
    "The text is JSON that the schema in this file allows, its properties in that order.", metavar="FILE"
)
LENGTH = Option("Tokens a text, which in Chinese are characters, marks too: N or LOW:HIGH.")
SHORTLIST = Option("Candidates that --sampler gibbs scores at a site.", minimum=1)
ANNEAL_OR_SAMPLE = Option("anneal: search for the lowest energy. mh: draw from the law.")
ANNEAL_SAMPLE_OR_SMC = Option(
    "anneal: search for the lowest energy. mh: draw from the law. smc: draw from it by populations, which also give "
    "log Z."
)
PARTICLES = Option("Of --sampler smc: texts of a population.", minimum=2, maximum=10**6)
POPULATIONS = Option("Of --sampler smc: independent populations; their spread says what they are worth.", minimum=1)
MOVES = Option("Of --sampler smc: steps of each particle at a temperature.", minimum=1)
ENCODER = Option("Model whose sentence embeddings are compared.  [default: --model]")
SIMILARITY = Option("Weight of -log cos, nats a sentence.", energies=["Similarity"])
GIVEN_SIMILARITY = Option(
    "Weight of -log cos, nats a sentence.  [default: 100; 0 beside a seq2seq model that reads TEXT]",
    energies=["Similarity"],
)
WHITEN = Option(
    "Texts, one a line, to which a whitening of 256 dimensions is fitted: embeddings are compared by what tells texts "
    "apart.",
    metavar="FILE",
)
PREFIX = Option("Stands before the source in the model's input.  [default: that of the model's translation task]")
SOURCE_LANG = Option(
    "Language of the source, where the model has several: fr, fr_XX, fra_Latn, as it calls them.", metavar="CODE"
)
TARGET_LANG = Option("Language of the target, likewise.", metavar="CODE")
