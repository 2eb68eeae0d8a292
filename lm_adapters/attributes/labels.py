"""Classifiers of texts, whatever model they are made of, and their labels as an energy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LabelEnergy", "TextClassifier", "label_number"]

SHOWN = 20  # labels of a message


class TextClassifier(ABC):
    """Texts to probabilities of ``labels``. ``model`` is what reads them, ``space`` has its tokenizer."""

    labels: tuple[str, ...]
    model: PreTrainedModel
    space: TextSpace

    @abstractmethod
    def log_probs(self, texts: Sequence[str]) -> Tensor:
        """``float64 [texts, labels]``, ``log p(label | text)`` in nats; ``-inf`` for a text longer than it takes."""


class LabelEnergy(EnergyTerm):
    """``-log p(label | text)`` in nats, the text being that of a state: near 0 where the classifier is sure of it.

    ``label`` is a name or a number of ``classifier.labels``. ``exp(-weight * E)`` is the factor ``p ** weight`` of the
    target. ``+inf`` for a text that is longer than the classifier takes.

    Cost: each text is read once. Raises ``InvalidInput`` for a label that the classifier does not have.
    """

    name = "attribute"
    expensive = True
    lower_bound = 0.0

    def __init__(self, space: TextSpace, classifier: TextClassifier, label: str | int) -> None:
        self.space, self.classifier = space, classifier
        self.label = label_number(classifier.labels, label)
        self.formula = f"-log p({classifier.labels[self.label]} | text)"

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        log_probs = self.classifier.log_probs(self.space.decode(x))
        return -log_probs[:, self.label].to(x.device)


def label_number(labels: Sequence[str], label: str | int) -> int:
    """The number of the label of that name, in any case if no other has it, or of that number, a name before a number.

    Raises ``InvalidInput`` with the labels for any other.
    """
    if label in labels:
        return labels.index(str(label))
    same = [number for number, name in enumerate(labels) if name.casefold() == str(label).casefold()]
    if len(same) == 1:
        return same[0]
    number = str(label).strip()
    if number.isdecimal() and int(number) < len(labels):
        return int(number)
    listed = ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN:,} more" if len(labels) > SHOWN else "")
    raise InvalidInput(f"there is no label {label!r}; the classifier has {listed}")
