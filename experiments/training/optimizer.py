"""Muon for the matrices of the layers, AdamW for embeddings, norms and biases."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

__all__ = ["Optimizers"]


class Optimizers:
    """Both optimizers as one; ``step(rate)`` makes an update and clears the gradients.

    Muon (Jordan 2024; Liu et al. 2025, arXiv:2502.16982) makes all directions of a matrix's update equally large. Its
    updates are scaled to the size of AdamW's, so one rate serves both. The embeddings' rate is ``embedding_rate`` times
    that rate. With ``relative`` every weight has the rate times its own root mean square (``Task`` says why).
    """

    def __init__(self, model: PreTrainedModel, weight_decay: float, *, embedding_rate: float, relative: bool) -> None:
        words = cast(nn.Embedding, model.get_input_embeddings()).weight
        matrices = {id(part.weight) for part in model.modules() if isinstance(part, nn.Linear)} - {id(words)}
        muon: list[dict[str, Any]] = []
        adam: list[dict[str, Any]] = []
        for weight in model.parameters():
            multiple = embedding_rate if weight is words else 1.0
            decay = 0.0 if relative or weight.dim() < 2 else weight_decay / multiple
            groups = muon if id(weight) in matrices else adam
            groups.append({"params": [weight], "weight_decay": decay, "multiple": multiple})
        self.relative = relative
        self.parts: list[Optimizer] = [
            torch.optim.Muon(muon, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(adam, betas=(0.9, 0.98), fused=True),
        ]

    @property
    def groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, rate: float) -> None:
        weights = [weight for group in self.groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group, multiple in zip(self.groups, self._multiples(), strict=True):
            group["lr"] = rate * multiple
        for part in self.parts:
            part.step()
            part.zero_grad()

    def _multiples(self) -> list[float]:
        """What each group's rate is multiplied by."""
        if not self.relative:
            return [group["multiple"] for group in self.groups]
        return _sizes([group["params"][0] for group in self.groups])

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


def _sizes(weights: list[torch.Tensor]) -> list[float]:
    """Root mean squares, with one wait for a GPU; what starts at zero has to be able to leave it."""
    norms: list[float] = torch.stack(torch._foreach_norm([weight.detach() for weight in weights])).tolist()
    return [max(1e-3, norm / math.sqrt(weight.numel())) for norm, weight in zip(norms, weights, strict=True)]
