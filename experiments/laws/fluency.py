"""A causal model that scores beside a seq2seq one: that texts read well counts beside that they fit what is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.setup.scorers import Scorer, load_scorer

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["NO_FLUENCY", "load_fluency", "partner_of"]

NO_FLUENCY = "none"
PARTNERS = {"seq2seq-en": "causal-en", "seq2seq-zh": "causal-zh"}  # models that score beside each other by default


def partner_of(scorer: object) -> str | None:
    """The causal model that scores beside an embedded seq2seq ``scorer`` where none is given."""
    return PARTNERS.get(scorer) if isinstance(scorer, str) else None


def load_fluency(
    fluency: str | CausalLM | None, scored: Scorer, lm: MaskedLM, settings: Settings, before: str = ""
) -> Scorer | None:
    """The model that stands beside the seq2seq model ``scored``, having read what stands ``before`` the text.

    ``None`` for none. Raises ``InvalidInput`` beside a model that gives fluency itself, and for one that is not causal
    where there is something before the text.
    """
    from lm_adapters import CausalLM
    from samplers import InvalidInput

    if fluency in (None, NO_FLUENCY):
        return None
    found = load_scorer(fluency, lm, settings, before=before)
    if found.energy.name == scored.energy.name:
        raise InvalidInput(
            f"{argument('fluency')} stands beside a seq2seq {argument('scorer')}, and this one gives fluency itself; "
            "leave it out"
        )
    if before and not isinstance(found.lm, CausalLM):
        raise InvalidInput(
            f"{argument('fluency')} has to read what stands before the text; give a causal model, or {NO_FLUENCY}"
        )
    return found
