"""The mixtures of moves with which texts under constraints are sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_adapters import Lock, MaskedLM
    from samplers import EnergyTerm, Kernel

__all__ = ["edit_kernel", "shortlist_kernel"]

BLOCK = 2  # sites that a block move redraws together


def edit_kernel(
    lm: MaskedLM,
    *,
    lock: Lock | None = None,
    min_length: int = 1,
    max_length: int,
    swap: bool = False,
    scorer: EnergyTerm | None = None,
) -> Kernel:
    """Replace, insert or delete one token, or redraw two; with ``swap`` two spans may change places.

    A ``scorer`` that reads from left to right, in the tokens of ``lm``, writes the end of the text anew as well: what
    it scores it also draws, so nearly all of these moves are accepted, however much they change.
    """
    from lm_adapters import EditProposal, GibbsProposal, SequenceEnergy, SuffixProposal, SwapProposal
    from samplers import MetropolisHastings, Mixture

    bounds: dict[str, Any] = {"lock": lock, "min_length": min_length, "max_length": max_length}
    parts: list[tuple[Kernel, float]] = [(MetropolisHastings(EditProposal(lm, **bounds)), 0.7 if swap else 0.8)]
    parts.append((MetropolisHastings(GibbsProposal(lm, BLOCK, lock=lock)), 0.2))
    if swap:
        parts.append((MetropolisHastings(SwapProposal(lm.space)), 0.1))
    if isinstance(scorer, SequenceEnergy):
        parts.append((MetropolisHastings(SuffixProposal(scorer.model, **bounds)), 0.4))
    total = sum(weight for _, weight in parts)
    return Mixture([(kernel, weight / total) for kernel, weight in parts])


def shortlist_kernel(
    lm: MaskedLM, *, lock: Lock | None = None, min_length: int = 1, max_length: int, shortlist: int
) -> Kernel:
    """Replace a token by an exact Gibbs draw among the ``shortlist`` likeliest, or insert or delete one."""
    from lm_adapters import EditProposal, RescoredReplace
    from samplers import MetropolisHastings, Mixture

    sizes = EditProposal(
        lm, lock=lock, min_length=min_length, max_length=max_length, replace=0.0, insert=0.5, delete=0.5
    )
    return Mixture([(RescoredReplace(lm, shortlist, lock=lock), 0.5), (MetropolisHastings(sizes), 0.5)])
