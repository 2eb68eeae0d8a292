"""Distance of a text from a source text as energies: shared n-grams, and edits of tokens."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from lm_adapters.text import TextSpace
from lm_adapters.word_edges import HAN
from samplers import EnergyTerm

__all__ = ["EditDistance", "SourceBleu"]

CHINESE = re.compile(f"[{HAN}]")


class SourceBleu(EnergyTerm):
    """``-log(1.01 - BLEU(x, source))`` in nats, with sentence BLEU in [0, 1]: higher for texts closer to the source.

    A copy costs ``-log 0.01 = 4.6`` nats, a text that shares no word ``-log 1.01 = -0.01``. So ``exp(-weight * E)`` is
    the factor ``(1.01 - BLEU) ** weight``, which rewards words that are not in the source (Liu et al. 2020,
    arXiv:1909.03588: the expression diversity, with the 0.01 of the released code).

    BLEU is sacrebleu's, up to 4-grams or as many as the text has (``effective_order``), with tokenisation "13a", or
    "zh" for a source with Chinese characters, each of which counts as a word; case-sensitive. The source is compared as
    the tokenizer decodes it, so that a state of its own tokens is a copy.

    Raises ``InvalidInput`` for a source that the tokenizer cannot represent.
    """

    name = "source bleu"
    lower_bound = -math.log(1.01)
    transient = ("bleu",)  # follows from the source

    def __init__(self, space: TextSpace, source: str) -> None:
        self.space = space
        self.source = space.decode(space.encode([source]))
        tokenize = "zh" if CHINESE.search(source) else "13a"
        # Counts the source's n-grams once.
        self.bleu = BLEU(effective_order=True, references=[self.source], tokenize=tokenize)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        scores = [self.bleu.corpus_score([text], None).score for text in self.space.decode(x)]
        return -torch.log(1.01 - torch.tensor(scores, dtype=torch.float64, device=x.device) / 100)


class EditDistance(EnergyTerm):
    """Levenshtein distance to the source in tokens: the fewest insertions, deletions and replacements, 1 nat each.

    ``weight * E`` charges ``weight`` nats for each edit between ``x`` and the source; a negative weight rewards them.
    The distance is at least the difference in length, so a reward for distance also rewards length: bound the length,
    or add a prior on it.

    Cost: one vector operation over chains and columns for each token of the source.

    Raises ``InvalidInput`` for a source that the tokenizer cannot represent.
    """

    name = "edit distance"
    lower_bound = 0.0

    def __init__(self, space: TextSpace, source: str) -> None:
        self.space = space
        self.source: list[int] = space.encode([source])[0].tolist()

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        columns = torch.arange(x.shape[1] + 1, device=x.device)
        # Distances from the source's tokens so far (initially none) to the first 0, 1, 2, ... tokens of each text.
        row = columns.expand(len(x), -1)
        for token in self.source:
            kept_or_replaced = row[:, :-1] + (x != token)
            best = torch.cat([row[:, :1] + 1, torch.minimum(kept_or_replaced, row[:, 1:] + 1)], dim=1)
            # Insertions extend to the right at 1 nat each: a running minimum, after subtracting that slope.
            row = (best - columns).cummin(dim=1).values + columns
        return row.gather(1, self.space.lengths(x).unsqueeze(1)).squeeze(1).double()
