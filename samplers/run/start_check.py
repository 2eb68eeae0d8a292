"""A start may be forbidden, a draw may not: chains must leave forbidden states before any state is kept."""

from __future__ import annotations

import math

from samplers.energy.terms import term_names
from samplers.errors import EnergyError
from samplers.types import ChainState, Energy

__all__ = ["check_none_forbidden"]


def check_none_forbidden(energy: Energy, step: int, state: ChainState, first_row: int = 0) -> None:
    """Raise ``EnergyError`` if a chain's energy is ``+inf`` at ``step``, the first that is kept.

    No kernel with an accept step returns to such a state, so later steps need no check. ``first_row`` is the number
    that the error gives to the first chain.
    """
    stuck = (state.energy == math.inf).nonzero().squeeze(1)
    if len(stuck):
        error = EnergyError(
            "forbids a state that would be kept as a draw (start elsewhere, lengthen the warmup, or add moves that "
            "leave it)",
            term=" + ".join(term_names(energy)),
            rows=(stuck + first_row).tolist(),
            x=state.x[stuck],
        )
        error.step = step
        raise error
