"""Broken replica exchange on the path to a distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.energy.terms import Evaluation
from samplers.kernels.path_tempering import PathTempered
from samplers.types import Energy

__all__ = ["LastRungCopied", "SwapWithoutLogQ"]


class SwapWithoutLogQ(PathTempered):
    """Swaps by the energies alone, as on a ladder of betas."""

    def _law_ratio(self, energy: Tensor, log_q: Tensor, rungs: Sequence[float], low: int, betas: Tensor) -> Tensor:
        return super()._law_ratio(energy, torch.zeros_like(log_q), rungs, low, betas)


class LastRungCopied(PathTempered):
    """The last rung starts from the state of the chain, and not from a draw that does not depend on it."""

    def _drawn(self, energy: Energy, like: Tensor, rng: torch.Generator) -> tuple[Tensor, Evaluation, Tensor]:
        return like.clone(), evaluate(energy, like), self._log_q(like)
