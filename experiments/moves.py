"""The mixtures of moves with which texts under constraints are sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_adapters import MaskedLM
    from lm_adapters.locks import Lock
    from samplers import Kernel

__all__ = ["edit_kernel", "shortlist_kernel"]

BLOCK = 2  # sites that a block move redraws together


def edit_kernel(
    lm: MaskedLM, *, lock: Lock | None = None, min_length: int = 1, max_length: int, swap: bool = False
) -> Kernel:
    """Replace, insert or delete one token, or redraw two; with ``swap`` two spans may change places."""
    from lm_adapters import EditProposal, SwapProposal
    from samplers import MetropolisHastings, Mixture

    edits = MetropolisHastings(EditProposal(lm, lock=lock, min_length=min_length, max_length=max_length))
    block = MetropolisHastings(lm.gibbs_proposal(BLOCK, lock=lock))
    if not swap:
        return Mixture([(edits, 0.8), (block, 0.2)])
    return Mixture([(edits, 0.7), (block, 0.2), (MetropolisHastings(SwapProposal(lm.space)), 0.1)])


def shortlist_kernel(
    lm: MaskedLM, *, lock: Lock | None = None, min_length: int = 1, max_length: int, shortlist: int
) -> Kernel:
    """Replace a token by an exact Gibbs draw among the ``shortlist`` likeliest, or insert or delete one."""
    from lm_adapters import EditProposal, rescored_replace
    from samplers import MetropolisHastings, Mixture

    sizes = EditProposal(
        lm, lock=lock, min_length=min_length, max_length=max_length, replace=0.0, insert=0.5, delete=0.5
    )
    return Mixture([(rescored_replace(lm, shortlist, lock=lock), 0.5), (MetropolisHastings(sizes), 0.5)])
