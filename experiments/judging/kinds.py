"""Questions and statements told apart by word n-grams: a judge of labels that shares no model with who draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.judging.kneser_ney import KneserNey
from experiments.training.data import english_split

__all__ = ["MARKS", "Kind", "by_kind"]

MARKS: Mapping[str, str] = {"question": "?", "statement": "."}


def by_kind(sentences: Sequence[str]) -> dict[str, list[str]]:
    """The ``sentences`` that end in the mark of a kind, without it: words decide, and not the mark."""
    return {
        kind: [text.removesuffix(mark) for text in sentences if text.endswith(mark)] for kind, mark in MARKS.items()
    }


@dataclass(frozen=True)
class Kind:
    """A kind of sentence, as the training sentences of ``corpus`` show it."""

    corpus: Path
    name: str

    def has(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Of which ``texts`` this kind is the likeliest, if each is as likely beforehand (Bayes' rule)."""
        models = _models(self.corpus)
        bare = [text.rstrip("".join(MARKS.values())) for text in texts]
        nats = {kind: model.nats(bare)[0] for kind, model in models.items()}
        own = nats.pop(self.name)
        likeliest: NDArray[np.bool_] = np.all([own < other for other in nats.values()], axis=0)
        return likeliest


@cache
def _models(corpus: Path) -> dict[str, KneserNey]:
    return {kind: KneserNey(texts) for kind, texts in by_kind(english_split(corpus)[0]).items()}
