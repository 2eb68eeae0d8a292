"""What the tests share that list every text of a tiny model and compare draws with the law of all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters import CausalLM
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import enumerate_states

__all__ = ["every_text", "strain", "with_likely_ends"]


def every_text(tokens: Tensor, longest: int, pad_id: int) -> Tensor:
    """All texts of 1 to ``longest`` of the ``tokens int64 [n]``, ``int64 [texts, longest]``, the short ones first."""
    parts = [tokens[enumerate_states(len(tokens), length)] for length in range(1, longest + 1)]
    return torch.cat([pad(part, (0, longest - part.shape[1]), value=pad_id) for part in parts])


def with_likely_ends(model: CausalLM) -> CausalLM:
    """Nearly all of its mass is now on the tokens that may be proposed and on ends."""
    model.tokens_per_pass = 10**6
    bias = torch.full(model.allowed.shape, -12.0, dtype=torch.float64)
    bias[model.allowed], bias[model.eos_id] = 0.0, -1.0
    model.model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return model


def strain(index: Tensor, law: Tensor) -> float:
    """``n * KL`` of the cells seen to ``law`` over its gate: above 1 is a rejection."""
    counts, law = pool(torch.bincount(index, minlength=len(law)), law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))
