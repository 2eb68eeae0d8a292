"""Options that know English only: for which models they are refused."""

from __future__ import annotations

from experiments.declaration.wording import argument

__all__ = ["check_english"]


def check_english(name: str, model: object) -> None:
    """Raise ``InvalidInput`` for the option ``name`` with a model that is known to write no English."""
    from lm_adapters.pretrained import known_languages
    from samplers import InvalidInput

    languages = known_languages(model) if isinstance(model, str) else []
    if languages and "en" not in languages:
        raise InvalidInput(
            f"{argument(name)} knows English, and {argument('model')} {model!r} writes {', '.join(languages)}; "
            "leave it out"
        )
