"""What is sampled: an energy, and states to start from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from experiments.setup.target import in_words

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Energy

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """``energy`` in nats of states ``x0 int64 [chains, width]``, which ``space`` decodes.

    ``models`` are those whose passes count as cost and which a resumed run must find unchanged, by the argument that
    names each: objects with a ``model`` and a ``space``. ``lengths`` are the bounds in tokens that the moves keep to,
    ``scored_by`` names the model of each term that has one. ``target`` says the law in words, by default ``in_words``.
    """

    space: TextSpace
    energy: Energy
    x0: Tensor
    models: Mapping[str, Any]
    target: str = ""
    lengths: tuple[int, int] | None = None
    scored_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def constraints(self) -> tuple[str, ...]:
        """Names of the terms that are 0 or infinite."""
        from samplers import WeightedSum

        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        return tuple(part.name for _, part in parts if part.is_constraint)

    def __post_init__(self) -> None:
        """Raise ``InvalidInput`` for a start that a constraint forbids."""
        from samplers import InvalidInput, WeightedSum

        if not self.target:
            said = in_words(self.energy, lengths=self.lengths, scored_by=self.scored_by)
            object.__setattr__(self, "target", said)
        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        for term in (part for _, part in parts if part.is_constraint):
            forbidden = (term(self.x0) == math.inf).nonzero().squeeze(1)
            if len(forbidden):
                text = self.space.decode(self.x0[forbidden[:1]])[0]
                raise InvalidInput(f"the start {text!r} breaks the constraint {term.name!r}; change one of the two")

    @cached_property
    def objective(self) -> str:
        """What a search makes small."""
        return in_words(self.energy, lengths=self.lengths, scored_by=self.scored_by, searched=True)
