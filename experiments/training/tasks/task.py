"""What the training loop does not know: the interface between it and a model that is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experiments.training.recipe import Recipe

__all__ = ["Task"]


class Task(ABC):
    """The shape of a model, what it learns from, how it is judged and what its card says.

    Built with the corpus and the tokenizer, it holds the training rows and the held-out ones.

    An optimizer moves every coordinate by the rate, whatever its size. ``embedding_rate`` is above 1 where embeddings
    begin larger than other weights. With ``relative_rates`` every weight has a rate times its own root mean square: a
    T5's range from 0.008 (queries, which hold the scale that its attention lacks) to 1 (embeddings), and at one rate
    for all its decoder learns to ignore the source (Nawrot 2023, arXiv:2309.02373).
    """

    name: ClassVar[str]  # of the embedded model
    kind: ClassVar[str]  # as ``lm_adapters.load_pretrained`` calls it
    recipe: ClassVar[Recipe]
    card: ClassVar[str]  # a template of ``cards.py``
    dropped: ClassVar[tuple[str, ...]]  # modules whose output loses channels to dropout, by the last part of their name
    facts: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # what else the card's template reads
    embedding_rate: ClassVar[float] = 1.0  # a multiple of the other weights' rate
    relative_rates: ClassVar[bool] = False
    tokenizer: PreTrainedTokenizerFast
    epoch_tokens: int  # in one pass over the training rows

    @abstractmethod
    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None: ...

    @staticmethod
    @abstractmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        """The tokenizer of a run that begins."""

    @abstractmethod
    def build(self) -> PreTrainedModel:
        """The model before the first step; random weights come from torch's global generator."""

    @abstractmethod
    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        """Endless ``(step, batch)`` from ``first_step`` on, the same for the same seed wherever it starts."""

    @abstractmethod
    def inputs(self, batch: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """What ``loss`` reads of a batch. All noise in it comes from ``rng``, which depends on seed and step alone."""

    @abstractmethod
    def loss(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Mean nats of what is to be predicted; compiled, so it holds nothing but work on tensors."""

    @abstractmethod
    def quick_figures(self, model: Any) -> dict[str, Any]:
        """A few seconds' look at held-out rows, for the learning curve."""

    @abstractmethod
    def figures(self, model: Any) -> dict[str, Any]:
        """What the card reports, on all the held-out rows it speaks of."""
