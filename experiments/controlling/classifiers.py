"""Classifiers and next-sentence models by the names that users give; what can be refused before weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.setup.models import named_model

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import MaskedLM, NextSentenceModel, TextClassifier

__all__ = ["check_label", "load_classifier", "load_follower"]


def check_label(
    settings: Settings, classifier: Any, label: str | int, template: str | None, against: Sequence[str]
) -> None:
    """Raise ``InvalidInput`` for a label that the classifier does not have, and for words without a template."""
    from lm_adapters import TextClassifier, label_number, labels_of, task_of
    from samplers import InvalidInput

    if template is None and against:
        raise InvalidInput(f"{argument('against')} is for a masked model with a {argument('template')}; leave it out")
    if template is not None and not against:
        raise InvalidInput(f"{argument('template')} needs words to compare {label!r} with; give {argument('against')}")
    found = named_model(classifier, settings.device, settings.dtype) if isinstance(classifier, str) else classifier
    trusted = settings.trust_remote_code
    try:
        if template is not None:
            if isinstance(found, str) and task_of(found, trust_remote_code=trusted) != "masked":
                raise InvalidInput(f"a {argument('template')} is for a masked language model, and it is none")
        elif isinstance(found, str):
            label_number(labels_of(found, trust_remote_code=trusted), label)
        elif isinstance(found, TextClassifier):
            label_number(found.labels, label)
        else:
            raise InvalidInput(f"it is a {type(found).__name__}; give a classifier, or a {argument('template')}")
    except InvalidInput as error:
        raise _blamed("classifier", classifier, error) from error


def load_classifier(
    classifier: str | TextClassifier | MaskedLM,
    lm: MaskedLM,
    label: str | int,
    template: str | None,
    against: Sequence[str],
    settings: Settings,
) -> TextClassifier:
    """A sequence-classification model, or a masked one that chooses between ``label`` and the words ``against`` it.

    Raises ``InvalidInput`` for a model that is neither, and for words that it cannot compare.
    """
    from lm_adapters import MaskedLM, SequenceClassifier, TextClassifier, ZeroShotClassifier
    from samplers import InvalidInput

    found = named_model(classifier, settings.device, settings.dtype) if isinstance(classifier, str) else classifier
    how: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code}
    try:
        if template is not None:
            if isinstance(found, str):
                same = found == settings.model
                found = lm if same else MaskedLM.from_pretrained(found, settings.device, settings.dtype, **how)
            if not isinstance(found, MaskedLM):
                raise InvalidInput(f"a {argument('template')} is for a masked language model, and it is none")
            return ZeroShotClassifier(found, template, [str(label), *against])
        if isinstance(found, str):
            return SequenceClassifier.from_pretrained(found, settings.device, settings.dtype, **how)
    except InvalidInput as error:
        raise _blamed("classifier", classifier, error) from error
    assert isinstance(found, TextClassifier), "check_label has seen to it"
    return found


def load_follower(model: str | NextSentenceModel, settings: Settings) -> NextSentenceModel:
    """The model of that name, that folder, or already loaded, with a next-sentence head."""
    from lm_adapters import NextSentenceModel

    found = named_model(model, settings.device, settings.dtype) if isinstance(model, str) else model
    if isinstance(found, str):
        return NextSentenceModel.from_pretrained(
            found, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code
        )
    assert isinstance(found, NextSentenceModel)
    return found


def _blamed(parameter: str, given: Any, error: Exception) -> Exception:
    """The error with the argument before it, unless its message names what was given."""
    from samplers import InvalidInput

    if not isinstance(given, str) or repr(given) in str(error):
        return InvalidInput(f"{argument(parameter)}: {error}")
    return InvalidInput(f"{argument(parameter)} {given!r}: {error}")
