"""A causal model that scores beside a seq2seq one: that texts read well counts beside that they fit what is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.setup.scorers import Scorer, check_scorer, kind_here, load_scorer

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import CausalLM, MaskedLM
    from samplers import InvalidInput

__all__ = ["NO_FLUENCY", "check_fluency", "load_fluency", "partner_of"]

NO_FLUENCY = "none"
PARTNERS = {"seq2seq-en": "causal-en", "seq2seq-zh": "causal-zh"}  # models that score beside each other by default


def partner_of(scorer: object) -> str | None:
    """The causal model that scores beside an embedded seq2seq ``scorer`` where none is given."""
    return PARTNERS.get(scorer) if isinstance(scorer, str) else None


def check_fluency(fluency: Any, scorer: Any, settings: Settings, before: str = "") -> None:
    """Raise ``InvalidInput`` as ``load_fluency`` does, for models that are embedded or in a folder."""
    if fluency in (None, NO_FLUENCY):
        return
    check_scorer(fluency, None, settings, "fluency")
    if kind_here(scorer, settings) in ("masked", "causal"):
        raise _beside_fluency()
    if before and kind_here(fluency, settings) == "masked":
        raise _reads_nothing_before()


def load_fluency(
    fluency: str | CausalLM | None, scored: Scorer, lm: MaskedLM, settings: Settings, before: str = ""
) -> Scorer | None:
    """The model that stands beside the seq2seq model ``scored``, having read what stands ``before`` the text.

    ``None`` for none. Raises ``InvalidInput`` beside a model that gives fluency itself, and for one that is not causal
    where there is something before the text.
    """
    from lm_adapters import CausalLM

    if fluency in (None, NO_FLUENCY):
        return None
    found = load_scorer(fluency, lm, settings, before=before, name="fluency")
    if found.energy.name == scored.energy.name:
        raise _beside_fluency()
    if before and not isinstance(found.lm, CausalLM):
        raise _reads_nothing_before()
    return found


def _beside_fluency() -> InvalidInput:
    from samplers import InvalidInput

    return InvalidInput(
        f"{argument('fluency')} stands beside a seq2seq {argument('scorer')}, and this one gives fluency itself; "
        "leave it out"
    )


def _reads_nothing_before() -> InvalidInput:
    from samplers import InvalidInput

    return InvalidInput(
        f"{argument('fluency')} has to read what stands before the text; give a causal model, or {NO_FLUENCY}"
    )
