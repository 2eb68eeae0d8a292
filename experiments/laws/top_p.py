"""Truncated sampling as a law: which tokens are exempt, how starts get inside, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.declaration.wording import named_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import Lock, Truncation
    from samplers import Constraint, EnergyTerm

__all__ = ["check_top_p", "given_tokens", "in_nucleus", "said", "start_truncation"]

COLD = 0.5  # a temperature at which few of a model's draws leave another model's nucleus


def check_top_p(top_p: float) -> None:
    """Raise ``InvalidInput`` for a share that cannot be."""
    if top_p == 1:
        return
    from lm_adapters import Truncation

    with named_arguments():
        Truncation(top_p=top_p)


def given_tokens(lock: Lock, *, end: bool = False) -> Callable[[Tensor], Tensor]:
    """``bool [rows, width + 1]``: the tokens of a lock's pieces; with ``end`` the end of the text too."""

    def exempt(x: Tensor) -> Tensor:
        from torch.nn.functional import pad

        held = pad(lock.pieces(x) > 0, (0, 1), value=False)
        return held.scatter(1, lock.space.lengths(x).unsqueeze(1), True) if end else held

    return exempt


def in_nucleus(fluency: EnergyTerm, top_p: float) -> list[Constraint]:
    """What starts have to keep to."""
    from samplers import Constraint

    return [Constraint("top-p", lambda x: fluency(x) < math.inf)] if top_p < 1 else []


def start_truncation(top_p: float) -> Truncation:
    """With which starts are drawn."""
    from lm_adapters import Truncation

    return Truncation(COLD if top_p < 1 else 1.0)


def said(model: str, top_p: float, *, given: bool = True) -> str:
    """The model that scores, in the words of a target; ``given``: whether some words are, which are exempt."""
    return f"{model} at top-p {top_p:g}{' but for given words' * given}" if top_p < 1 else model
