"""Options that several experiments share, though not all."""

from __future__ import annotations

from experiments.declaration.arguments import Option

__all__ = ["ANNEAL_OR_SAMPLE", "ENCODER", "SCORER", "SHORTLIST", "SIMILARITY"]

SCORER = Option("Language model whose -log p is the fluency.")
SHORTLIST = Option("Candidates that --sampler gibbs scores at a site.", minimum=1)
ANNEAL_OR_SAMPLE = Option("anneal: search for the best. mh: draw from the law.")
ENCODER = Option("Model whose sentence embeddings are compared.  [default: --model]")
SIMILARITY = Option("Weight of -log cos, nats a sentence.")
