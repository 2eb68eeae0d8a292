"""The constraint that a text matches a grammar."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lm_adapters.grammars.grammar import Grammar
from lm_adapters.grammars.written import Written
from lm_adapters.text import TextSpace
from samplers import Constraint

__all__ = ["Matches"]


class Matches(Constraint):
    """0 nats where the whole text matches ``grammar``, ``+inf`` elsewhere.

    The text is ``space.decode(x)``, to its end, without a space that a tokenizer keeps before the first word. So it
    does not matter how a text is spelt: all token sequences of one text match or none does, and the law over token
    sequences counts a text once for every spelling of it that other terms allow. Add ``Canonical`` for one over texts.
    """

    def __init__(self, space: TextSpace, grammar: Grammar) -> None:
        written, automaton = Written(space), grammar.automaton([])

        def allowed(x: Tensor) -> Tensor:
            found = [automaton.is_match(text.encode(errors="replace")) for text in written.texts(x)]
            return torch.tensor(found, dtype=torch.bool, device=x.device)

        super().__init__(grammar.kind, allowed)
        self.space, self.grammar, self.clause = space, grammar, grammar.clause

    def config(self) -> dict[str, Any]:
        return {"space": self.space, "grammar": self.grammar}
