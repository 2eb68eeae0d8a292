"""How far a text is from a source text, as energies: shared n-grams, and edits of tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import EnergyTerm

__all__ = ["EditDistance", "SourceBleu"]


class SourceBleu(EnergyTerm):
    """``-log(1.01 - BLEU(x, source))`` nats, BLEU of the sentence in [0, 1]: rises as a text comes near the source.

    A copy costs ``-log 0.01 = 4.6`` nats, a text that shares no word ``-log 1.01 = -0.01``. So ``exp(-weight * E)`` is
    the factor ``(1.01 - BLEU) ** weight`` that rewards other words than the source's (Liu et al. 2020,
    arXiv:1909.03588: the expression diversity, with the 0.01 of the released code).

    BLEU is sacrebleu's, up to 4-grams or as many as the text has (``effective_order``), with its tokenisation "13a"
    and case as written. The source is compared as the tokenizer writes it, so that its own tokens are a copy.

    Raises ``InvalidInput`` for a source that the tokenizer cannot represent.
    """

    name = "source bleu"
    lower_bound = -math.log(1.01)
    transient = ("bleu",)  # made of the source

    def __init__(self, space: TextSpace, source: str) -> None:
        self.space = space
        self.source = space.decode(space.encode([source]))
        self.bleu = BLEU(effective_order=True, references=[self.source])  # which counts the source's n-grams once

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        scores = [self.bleu.corpus_score([text], None).score for text in self.space.decode(x)]
        return -torch.log(1.01 - torch.tensor(scores, dtype=torch.float64, device=x.device) / 100)


class EditDistance(EnergyTerm):
    """Levenshtein distance to the source in tokens: the fewest insertions, deletions and replacements; 1 nat each.

    It rises with the distance: ``weight * E`` charges ``weight`` nats for each edit that ``x`` is away from the source,
    a negative weight rewards it. It is at least the difference in length, so a reward for distance is one for length
    too: bound the length, or give it a prior.

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
        # Distances of the source's first tokens, at first none, to the first tokens of each text, one column a number.
        row = columns.expand(len(x), -1)
        for token in self.source:
            kept_or_replaced = row[:, :-1] + (x != token)
            best = torch.cat([row[:, :1] + 1, torch.minimum(kept_or_replaced, row[:, 1:] + 1)], dim=1)
            # Insertions go on to the right at 1 nat each: a running minimum, once that slope is taken off.
            row = (best - columns).cummin(dim=1).values + columns
        return row.gather(1, self.space.lengths(x).unsqueeze(1)).squeeze(1).double()
