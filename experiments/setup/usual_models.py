"""The models that are usual in a language: those of English by default, others where ``lang`` or a card asks for them.

Each experiment says which embedded models it has by default. All are English; in another language the models of that
language stand in their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.declaration.arguments import Argument

__all__ = ["LANGUAGES", "check_embedded", "masked_model_of", "usual_models"]

LANGUAGES = ("en", "zh")
MASKED = "masked-en"
IN_LANGUAGE = {
    "zh": {"masked-en": "masked-zh", "causal-en": "causal-zh", "seq2seq-en": "seq2seq-zh", "kinds-en": "kinds-zh"}
}


def usual_models(arguments: Iterable[Argument], given: Mapping[str, Any]) -> dict[str, Any]:
    """The models that the language of ``given`` has in place of those that arguments have by default.

    None for an argument that is given, whatever it is. The language is ``lang``, or that which the card of a given
    model has alone, or beside English. Where its seq2seq model has not the task that an argument declares, a causal one
    scores, if the argument takes such.
    """
    models = {each.name: each for each in arguments if _is_model(each)}
    lang = given.get("lang") or _of_cards(given[name] for name in models if isinstance(given.get(name), str))
    found = {}
    for name, each in models.items():
        if name not in given and (model := IN_LANGUAGE.get(lang, {}).get(each.default)):
            found[name] = model if not each.takes_named("CausalLM") or _can(model, each.task) else f"causal-{lang}"
    return found


def _can(model: str, task: str | None) -> bool:
    """Whether this version has the model, and the model the task."""
    from lm_adapters import tasks_of
    from lm_adapters.pretrained import embedded_names

    return model in embedded_names() and (task is None or task in tasks_of(model))


def masked_model_of(lang: str | None) -> str:
    """The masked model of a language. Raises ``InvalidInput`` for one that this version does not have."""
    name = IN_LANGUAGE.get(lang or "", {}).get(MASKED, MASKED)
    check_embedded(name)
    return name


def check_embedded(name: str) -> None:
    """Raise ``InvalidInput`` for a model that stands for an English one and that this version does not have."""
    from lm_adapters.pretrained import embedded_names
    from samplers import InvalidInput

    for lang, models in IN_LANGUAGE.items():
        if name in models.values() and name not in embedded_names():
            raise InvalidInput(
                f"there is no {name} among the embedded models ({', '.join(embedded_names())}): give a model for "
                f"{lang}, a folder or a name of the hub, in its place"
            )


def _is_model(each: Argument) -> bool:
    """A text to paraphrase is no folder to look for a card in."""
    is_usual = isinstance(each.default, str) and each.default in IN_LANGUAGE["zh"]
    return is_usual or any(map(each.takes_named, ("MaskedLM", "CausalLM", "Seq2SeqLM")))


def _of_cards(models: Iterable[str]) -> str:
    """The first language, apart from English, that a model has alone, or beside English."""
    from lm_adapters.pretrained import card_languages

    others = ([code for code in card_languages(model) if code != "en"] for model in models)
    return next((codes[0] for codes in others if len(codes) == 1 and codes[0] in IN_LANGUAGE), "en")
