"""What is sampled: an energy, and states to start from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from experiments.laws.target import fixed_parts, in_words

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
    which ``note`` may narrow, and with ``each_length`` chains keep theirs; ``scored_by`` names the model of each term
    that has one. ``target`` says the law in words, by default by all these.
    """

    space: TextSpace
    energy: Energy
    x0: Tensor
    models: Mapping[str, Any]
    target: str = ""
    lengths: tuple[int, int] | None = None
    scored_by: Mapping[str, str] = field(default_factory=dict)
    each_length: bool = False
    note: str = ""

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
            object.__setattr__(self, "target", self._in_words(searched=False))
        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        for term in (part for _, part in parts if part.is_constraint):
            forbidden = (term(self.x0) == math.inf).nonzero().squeeze(1)
            if len(forbidden):
                text = self.space.decode(self.x0[forbidden[:1]])[0]
                raise InvalidInput(f"the start {text!r} breaks the constraint {term.name!r}; change one of the two")

    @cached_property
    def objective(self) -> str:
        """What a search makes small."""
        return self._in_words(searched=True)

    def _in_words(self, *, searched: bool) -> str:
        said = in_words(
            self.energy,
            lengths=self.lengths,
            each_length=self.each_length,
            scored_by=self.scored_by,
            searched=searched,
        )
        kept = fixed_parts(self.space, self.x0, self.energy)
        return said + self.note + (f" in which {kept} stay{'s' * (' and ' not in kept)}" if kept else "")
