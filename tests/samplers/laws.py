"""Exact gates: what a correct sampler fails once in a billion tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.stats import binomtest
from torch import Tensor

ALPHA = 1e-9
GATE = 6.35  # |t| over 256 chains beyond which the two-sided probability is below ALPHA


def worst_p_value(draws: Tensor, law: Sequence[float]) -> float:
    """The smallest exact binomial p-value over the values ``0..len(law)-1`` of independent ``draws``."""
    counts = torch.bincount(draws, minlength=len(law)).tolist()
    assert len(counts) == len(law)
    return min(binomtest(count, len(draws), p).pvalue for count, p in zip(counts, law, strict=True))


def worst_t(means: Tensor, truth: Tensor) -> float:
    """The largest ``|t|`` of independent rows ``means [chains, statistics]`` against ``truth [statistics]``."""
    error = means.std(dim=0) / math.sqrt(len(means))
    return float(((means.mean(dim=0) - truth) / error).abs().max())
