"""Draws of a distribution with their log-densities and energies, each state read no more often than it must be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.energy.terms import Evaluation
from samplers.errors import InvalidInput, ProposalError
from samplers.randomness import scoped_global_seed
from samplers.types import Distribution, Drawn, Energy

__all__ = ["draw", "draw_scored"]


def draw(distribution: Distribution, count: int, rng: torch.Generator, like: Tensor | None = None) -> Drawn:
    """``count`` draws with their ``log q``, by ``sample_and_log_prob`` where the distribution has that.

    Raises ``InvalidInput`` for log-densities of another shape, ``ProposalError`` for draws that have not the type and
    shape of ``like``.
    """
    log_q, hint = None, None
    with scoped_global_seed(rng):
        if _knows_its_draws(distribution):
            x, log_q, hint = distribution.sample_and_log_prob(count)  # type: ignore[attr-defined]
        else:
            x = distribution.sample(torch.Size([count]))
    if like is not None and (x.shape != like.shape or x.dtype != like.dtype):
        raise ProposalError(
            f"draws of the distribution are {x.dtype} {list(x.shape)}, the chains {like.dtype} {list(like.shape)}"
        )
    if log_q is None:
        log_q = distribution.log_prob(x)
    if log_q.shape != (count,):
        raise InvalidInput(
            f"proposal.log_prob gave shape {list(log_q.shape)} for {count} draws, not [{count}]; "
            "wrap a factorised distribution in torch.distributions.Independent"
        )
    return Drawn(x, log_q.to(torch.float64), hint)


def draw_scored(
    energy: Energy, distribution: Distribution, count: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Evaluation]:
    """``count`` draws, their ``log q float64 [count]`` and their energies.

    Raises ``InvalidInput`` where a density is not finite.
    """
    with torch.inference_mode():
        x, log_q, hint = draw(distribution, count, rng)
        if not bool(log_q.isfinite().all()):
            raise InvalidInput("proposal.log_prob of its own draws is not finite; the proposal cannot be used")
        return x, log_q, evaluate(energy, x, hint)


def _knows_its_draws(distribution: Any) -> bool:
    """Whether it has ``sample_and_log_prob``, and has not inherited it beside another ``sample`` or ``log_prob``."""
    classes = type(distribution).__mro__

    def depth(name: str) -> int:
        return next((number for number, each in enumerate(classes) if name in vars(each)), len(classes))

    return hasattr(distribution, "sample_and_log_prob") and depth("sample_and_log_prob") <= min(
        depth("sample"), depth("log_prob")
    )
