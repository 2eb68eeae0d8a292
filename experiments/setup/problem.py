"""What is sampled: an energy, states to start from, and the law in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Energy

__all__ = ["Problem", "in_words"]


@dataclass(frozen=True)
class Problem:
    """``energy`` in nats of states ``x0 int64 [chains, width]``, which ``space`` decodes.

    ``models`` are those whose passes count as cost and which a resumed run must find unchanged, by the argument that
    names each: objects with a ``model`` and a ``space``. ``target`` says the law in words.
    """

    space: TextSpace
    energy: Energy
    x0: Tensor
    models: Mapping[str, Any]
    target: str = ""

    def __post_init__(self) -> None:
        """Raise ``InvalidInput`` for a start that a constraint forbids."""
        from samplers import InvalidInput, WeightedSum

        if not self.target:
            object.__setattr__(self, "target", in_words(self.energy))
        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        for term in (part for _, part in parts if part.is_constraint):
            forbidden = (term(self.x0) == math.inf).nonzero().squeeze(1)
            if len(forbidden):
                text = self.space.decode(self.x0[forbidden[:1]])[0]
                raise InvalidInput(f"the start {text!r} breaks the constraint {term.name!r}; change one of the two")


def in_words(energy: Energy, suffix: str = "") -> str:
    """``exp(-(fluency + 2 similarity))``, constraints after "given"."""
    from samplers import WeightedSum, term_names

    if not isinstance(energy, WeightedSum):
        return f"exp(-{term_names(energy)[0]}){suffix}"
    soft = [
        part.name if weight == 1 else f"{weight:g} {part.name}"
        for weight, part in energy.parts
        if not part.is_constraint
    ]
    constraints = [part.name for _, part in energy.parts if part.is_constraint]
    law = f"exp(-({' + '.join(soft)}))" if len(soft) > 1 else f"exp(-{soft[0]})" if soft else "uniform"
    return law + (f" given {', '.join(constraints)}" if constraints else "") + suffix
