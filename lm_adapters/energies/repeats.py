"""Texts that repeat themselves: how many of their word pairs, or longer runs of words, have come before."""

from __future__ import annotations

import unicodedata
from typing import Any

import torch
from torch import Tensor

from lm_adapters.energies.words import word_spans
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["RepeatedNgrams", "repeated_ngrams"]


class RepeatedNgrams(EnergyTerm):
    """One nat for each run of ``n`` words that has come before in the text: multiply it by a weight.

    "the cat and the cat" repeats one pair. Words are those of ``word_spans``; case and punctuation make no difference.
    With ``n=1`` every repeated word counts, "the" too. Raises ``InvalidInput`` for ``n`` below 1.
    """

    lower_bound = 0.0

    def __init__(self, space: TextSpace, n: int = 2) -> None:
        if n < 1:
            raise InvalidInput(f"n is {n}; give the number of words of a run, at least 1")
        self.space, self.n, self.name = space, n, "repeats"

    def texts(self, x: Tensor) -> list[str]:
        return self.space.decode(x)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        counts = [repeated_ngrams(text, self.n)[0] for text in self.space.decode(x)]
        return torch.tensor(counts, dtype=torch.float64, device=x.device)


def repeated_ngrams(text: str, n: int) -> tuple[int, int]:
    """How many of the runs of ``n`` words of a text have come before in it, and how many there are."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = [plain[start:end] for start, end in word_spans(plain)]
    runs = list(zip(*(words[place:] for place in range(n)), strict=False))
    return len(runs) - len(set(runs)), len(runs)
