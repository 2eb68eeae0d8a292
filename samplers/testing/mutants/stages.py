"""Broken acceptance in two stages."""

from __future__ import annotations

import torch
from torch import Tensor

from samplers.kernels.delayed_acceptance import DelayedAcceptance
from samplers.types import ChainState

__all__ = ["FirstStageAlone", "StaleSurrogate", "SurrogateForgotten"]


class FirstStageAlone(DelayedAcceptance):
    """What the surrogate lets pass is taken: its own law is sampled."""

    def _beyond(self, energy: Tensor, cheap: Tensor) -> Tensor:
        return torch.zeros_like(energy)


class SurrogateForgotten(DelayedAcceptance):
    """The second stage decides by the energy, as if the first had not decided by the surrogate."""

    def _beyond(self, energy: Tensor, cheap: Tensor) -> Tensor:
        return energy


class StaleSurrogate(DelayedAcceptance):
    """The surrogate's energy is kept although another kernel has changed the state."""

    def _current(self, state: ChainState) -> Tensor:
        return state.aux["surrogate"]["memory"]  # type: ignore[no-any-return]
