"""The one place where terms of an energy are called, and what they return is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from samplers.energy.source_location import defined_at, raised_at
from samplers.errors import EnergyError, McmcTextError
from samplers.types import Term

__all__ = ["refused", "scored", "weighed"]


def scored(
    term: Term,
    x: Tensor,
    hint: Any = None,
    *,
    rows: Tensor | None = None,
    weight: float = 1.0,
    score: Callable[[], Tensor] | None = None,
) -> Tensor:
    """``weight * term``, ``float64 [rows]``, neither NaN nor ``-inf``; arguments and errors as in ``weighed``.

    ``rows`` are the numbers that errors give to the rows of ``x``.
    """
    try:
        return refused(term, x, weighed(term, x, hint, weight=weight, score=score), weight)
    except EnergyError as error:
        error.rows = error.rows if rows is None else rows[error.rows].tolist()
        raise


def weighed(
    term: Term, x: Tensor, hint: Any = None, *, weight: float = 1.0, score: Callable[[], Tensor] | None = None
) -> Tensor:
    """``weight * term``, ``float64 [rows]``, NaN and ``-inf`` included; ``+inf`` forbids at weight 0 too.

    ``score`` is how to compute it where ``term`` is not simply asked for ``x``. The term gets a copy of ``x``, so that
    one which writes into its argument cannot change the states of the chains. Raises ``EnergyError`` for what is no
    tensor of one number a row on the device of ``x``; and where the term raises, with the first state that makes it do
    so alone, if there is one. Integers become floats, and gradients are dropped with their graph.
    """
    try:
        values = term.values(x.clone(), hint) if score is None else score()
    except McmcTextError:
        raise
    except Exception as error:
        _blame(term, x, hint, error)
    if problem := _unusable(values, x):
        raise EnergyError(problem, term=term.name, x=x, where=defined_at(term.code))
    values = values.detach().to(torch.float64)
    return values if weight == 1 else torch.where((values == math.inf) & (weight == 0), values, weight * values)


def refused(term: Term, x: Tensor, values: Tensor, weight: float = 1.0) -> Tensor:
    """``values``, of the weighed ``term`` at ``x``. Raises ``EnergyError`` where one is NaN or ``-inf``."""
    bad = values.isnan() | (values == -math.inf)
    if bool(bad.any()):
        at = bad.nonzero().squeeze(1)
        nan = values[at].isnan()
        times = "" if weight == 1 else f"times {weight:g} "
        what = "is NaN" if bool(nan.any()) else f"{times}is -inf, so its law cannot be normalised"
        raise EnergyError(what, term=term.name, rows=at.tolist(), x=x[at], nan=bool(nan.all()))
    return values


def _unusable(values: Any, x: Tensor) -> str | None:
    """What keeps ``values`` from being one number for each row of ``x``."""
    if not isinstance(values, Tensor):
        return f"returned {type(values).__name__}, not a tensor of shape [{len(x)}]"
    if values.shape != (len(x),):
        return f"returned shape {list(values.shape)} for {len(x)} states, not [{len(x)}]"
    if values.device != x.device:
        return f"returned a tensor on {values.device} for states on {x.device}; compute it there"
    return None


def _blame(term: Term, x: Tensor, hint: Any, error: Exception) -> NoReturn:
    """Raise for the first state at which ``term`` raises by itself, or for all where none does."""
    for row in range(len(x)):
        one = torch.tensor([row], device=x.device)
        try:
            term.values(x[one], None if hint is None else hint[one])
        except Exception as single:
            raise _told(term, single, [row], x[one]) from single
    raise _told(term, error, [], x) from error


def _told(term: Term, error: Exception, rows: list[int], x: Tensor) -> EnergyError:
    problem, where = f"raised {type(error).__name__}: {error}", raised_at(error, term.code)
    return EnergyError(problem, term=term.name, rows=rows, x=x, where=where)
