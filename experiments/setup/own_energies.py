"""The user's own energies in a run: whether they forbid every chain, and whether draws get the same energies again."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.results.cost import Spent

if TYPE_CHECKING:
    from torch import Tensor

    from samplers import ChainState, Energy, StepInfo, Watched

__all__ = ["ForbiddenStarts", "contradictions", "own_terms"]

STATES = 16  # draws that are scored again
SECONDS = 1.0  # that this may take; always two
LATER = 50  # steps after which it is said again


def own_terms(energy: Energy) -> Iterator[tuple[int, float, Watched]]:
    """Column, weight and term of each that is the user's own."""
    from samplers import Watched, WeightedSum

    for column, (weight, part) in enumerate(energy.parts if isinstance(energy, WeightedSum) else []):
        if isinstance(part, Watched):
            yield column, weight, part


@dataclass
class ForbiddenStarts:
    """An observer of a run: warns early if all chains stand where a term forbids them, and names it.

    ``init``: the experiment has an argument for the text to start from.
    """

    energy: Energy
    init: bool
    looks: bool = False

    def __call__(self, step: int, state: ChainState, info: StepInfo) -> None:
        self.looks = self.looks or step == 0
        if not self.looks:
            return
        self.looks = step < LATER and bool((state.energy == math.inf).all())
        if step in (0, LATER) and bool((state.energy == math.inf).all()):
            self._warn(step, state.terms)

    def _warn(self, step: int, terms: Tensor) -> None:
        from samplers.run import forbidding_terms

        names = " and ".join(map(repr, forbidding_terms(self.energy, terms))) or "the sum"
        elsewhere = f"start from a text that it allows ({argument('init')}), or " if self.init else ""
        when = "the start of every chain" if step == 0 else f"the text of every chain, still after {step} steps"
        warnings.warn(
            f"energy {names} forbids {when}, and a chain can only leave by a single move to an allowed text; "
            f"{elsewhere}give a finite number, such as 10.0, in place of inf, which leads there step by step",
            stacklevel=2,
        )


def contradictions(energy: Energy, x: Tensor, terms: Tensor, spent: Spent) -> str:
    """What is wrong where the user's own terms of some draws come out otherwise than in the run; empty if nothing.

    ``x [draws, width]``, ``terms float64 [draws, terms]``.
    """
    import torch

    found = []
    for column, weight, term in own_terms(energy):
        rows = (terms[:, column].isfinite()).nonzero().squeeze(1)
        cost = spent.terms.get(term.name)
        most = SECONDS * cost.states / cost.seconds if cost and cost.seconds else STATES
        count = min(len(rows), int(max(2, min(STATES, most))))
        if not count or weight == 0 or term.is_constraint:
            continue
        some = rows[torch.linspace(0, len(rows) - 1, count).long()]
        with torch.inference_mode():
            found.append(term.contradiction(x[some], terms[some, column] / weight))
    return "; ".join(filter(None, found))
