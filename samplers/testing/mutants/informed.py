"""Broken kernels that choose among many moves, or move by estimates."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.kernels.gradient_proposal import GradientProposal
from samplers.kernels.locally_informed import LocallyInformed
from samplers.kernels.multiple_try import MultipleTry
from samplers.kernels.pseudo_marginal import PseudoMarginal
from samplers.testing.spaces import StartedPseudoMarginal
from samplers.types import ChainState

__all__ = ["ForgottenReverseGradient", "RefreshedEstimate", "WithoutBackwardNormaliser", "WithoutReferences"]


class RefreshedEstimate(StartedPseudoMarginal):
    """Draws the estimate of the current state anew at every step ("Monte Carlo within Metropolis")."""

    def _kept(self, state: ChainState, rng: torch.Generator):  # type: ignore[no-untyped-def]
        fresh = {**state.aux, "estimated": torch.zeros_like(state.aux["estimated"])}
        return PseudoMarginal._kept(self, state._replace(aux=fresh), rng)


class WithoutReferences(MultipleTry):
    """The chosen try is accepted as if it had been the only proposal."""

    def _log_ratio(self, forward: Tensor, back: Tensor) -> Tensor:
        return -2 * back[:, 0]  # the square root of the Hastings ratio is the weight


class WithoutBackwardNormaliser(LocallyInformed):
    """Accepts what the weights choose: balanced weights alone, without the sum at the new state."""

    def _log_ratio(self, weights: Tensor, back: Tensor) -> Tensor:
        return torch.zeros(len(weights), dtype=torch.float64)


class ForgottenReverseGradient(GradientProposal):
    """The way back is weighed by the gradient of the state that is left."""

    def _gradient_after(self, new: Tensor, gradient: Tensor) -> Tensor:
        return gradient
