"""A start may be forbidden, a draw may not: chains must leave forbidden states before any state is kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samplers.energy.terms import in_order, parts_of, term_names
from samplers.errors import EnergyError
from samplers.types import ChainState, Energy

__all__ = ["check_none_forbidden", "forbidding_terms"]


def forbidding_terms(energy: Energy, terms: Tensor) -> dict[str, Tensor]:
    """Rows ``int64 [rows]`` that each term forbids, by name, the most first; ``terms`` as ``evaluate`` returns them.

    A row counts for the first term that is ``+inf``: those after it were not called, and are ``+inf`` as well.
    """
    left, found = torch.ones(len(terms), dtype=torch.bool, device=terms.device), {}
    for column, _, part in in_order(parts_of(energy)):
        forbidden = left & (terms[:, column] == math.inf)
        if bool(forbidden.any()):
            found[part.name] = forbidden.nonzero().squeeze(1)
        left &= ~forbidden
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def check_none_forbidden(energy: Energy, step: int, state: ChainState, first_row: int = 0) -> None:
    """Raise ``EnergyError`` if a chain's energy is ``+inf`` at ``step``, the first that is kept.

    It is the term's that forbids the most of them. No kernel with an accept step returns to such a state, so later
    steps need no check. ``first_row`` is the number that the error gives to the first chain.
    """
    stuck = (state.energy == math.inf).nonzero().squeeze(1)
    if not len(stuck):
        return
    terms = {name: stuck[rows] for name, rows in forbidding_terms(energy, state.terms[stuck]).items()}
    # Without one it is finite terms that add up to infinity.
    name, rows = next(iter(terms.items()), (" + ".join(term_names(energy)), stuck))
    error = EnergyError(
        "forbids a state that would be kept as a draw",
        term=name,
        rows=(rows + first_row).tolist(),
        x=state.x[rows],
        remedy="no move has left it: give a finite number in place of inf, start elsewhere, lengthen the warmup, or "
        "add moves",
    )
    error.step = step
    raise error
