"""The only place where terms of an energy are called, and their return values checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

from samplers.energy.row_numbers import row_numbers
from samplers.energy.source_location import defined_at, raised_at
from samplers.energy.term_cost import measured
from samplers.errors import EnergyError, McmcTextError
from samplers.types import Term

__all__ = ["checked_values", "raw_values", "unusable"]


def checked_values(
    term: Term,
    x: Tensor,
    hint: Any = None,
    *,
    weight: float = 1.0,
    rows: Tensor | None = None,
    limit: Tensor | None = None,
    call: Callable[[], Tensor] | None = None,
    count_nan: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """``weight * term`` at ``x``, ``float64 [rows]``, neither NaN nor ``-inf``; ``+inf`` forbids at weight 0 too.

    ``rows`` are the numbers that errors give to the rows of ``x``. Rows of which the term shows early that it is above
    ``limit float64 [rows]`` may get ``+inf``. ``call`` computes the values where this is not ``term.values(x, hint)``.
    With ``count_nan`` NaN becomes ``+inf``, after a call of it with ``bool [rows]``.

    The term gets a copy of ``x``, so that writing into its argument cannot change the states of the chains. Integers
    become floats, and gradients are dropped with their graph.

    Raises ``EnergyError`` if the term raises (with the first state at which it raises alone, if there is one), if it
    does not return a tensor of one number a row on the device of ``x``, and for NaN and ``-inf``.
    """
    if limit is not None and term.stops_early:
        call = partial(_values_within, term, x, limit, hint)
    with row_numbers(rows):
        if count_nan is None:
            values = raw_values(term, x, hint, weight, call)
        else:
            values = _weighted_or_nan(term, x, hint, weight, call)
            count_nan(values.isnan())
            values = values.masked_fill(values.isnan(), math.inf)
        possible = values > -math.inf  # which NaN is not
        if not bool(possible.all()):
            raise _no_number(term, x, values, (~possible).nonzero().squeeze(1), weight)
        return values


def raw_values(
    term: Term, x: Tensor, hint: Any = None, weight: float = 1.0, call: Callable[[], Tensor] | None = None
) -> Tensor:
    """``checked_values`` with NaN and ``-inf`` as they are."""
    try:
        with measured(term.name, len(x)):
            values = term.values(x.clone(), hint) if call is None else call()
    except EnergyError as error:
        _complete(error, term)
        raise
    except McmcTextError:
        raise
    except Exception as error:
        _raise_for_first(term, x, hint, error)
    if problem := unusable(values, x):
        wrong = EnergyError(problem, term=term.name, x=x, where=defined_at(term.code))
        _complete(wrong, term)
        raise wrong
    values = values.detach() if values.requires_grad else values
    values = values if values.dtype == torch.float64 else values.to(torch.float64)
    return values if weight == 1 else torch.where((values == math.inf) & (weight == 0), values, weight * values)


def _values_within(term: Term, x: Tensor, limit: Tensor, hint: Any) -> Tensor:
    return term.values_within(x.clone(), limit, hint)


def _weighted_or_nan(term: Term, x: Tensor, hint: Any, weight: float, call: Callable[[], Tensor] | None) -> Tensor:
    """Also of a term that raises for NaN, as a sum inside of it does: it is called again without those rows."""
    values = torch.full((len(x),), math.nan, dtype=torch.float64, device=x.device)
    rest = torch.arange(len(x), device=x.device)
    while len(rest):
        try:
            with row_numbers(rest):
                values[rest] = raw_values(term, x[rest], None if hint is None else hint[rest], weight, call)
            break
        except EnergyError as error:
            if not (error.nan and error.rows):
                raise
            rest, call = rest[~torch.isin(rest, torch.tensor(error.rows, device=x.device))], None
    return values


def _no_number(term: Term, x: Tensor, values: Tensor, rows: Tensor, weight: float) -> EnergyError:
    nan = values[rows].isnan()
    times = "" if weight == 1 else f"times {weight:g} "
    what = "is NaN" if bool(nan.any()) else f"{times}is -inf, so its law cannot be normalised"
    error = EnergyError(what, term=term.name, rows=rows.tolist(), x=x[rows], nan=bool(nan.all()))
    _complete(error, term)
    return error


def unusable(values: Any, x: Tensor) -> str | None:
    """What keeps ``values`` from being one number for each row of ``x``."""
    if not isinstance(values, Tensor):
        return f"returned {type(values).__name__}, not a tensor of shape [{len(x)}]"
    if values.shape != (len(x),):
        return f"returned shape {list(values.shape)} for {len(x)} states, not [{len(x)}]"
    if values.is_complex():
        return f"returned {values.dtype}, not real numbers"
    if values.device != x.device:
        return f"returned a tensor on {values.device} for states on {x.device}; compute it there"
    return None


def _raise_for_first(term: Term, x: Tensor, hint: Any, error: Exception) -> NoReturn:
    """Raise for the first row at which ``term`` raises by itself, or for all rows if there is none."""
    rows: list[int] = []
    for row in range(len(x)):
        one = torch.tensor([row], device=x.device)
        try:
            term.values(x[one], None if hint is None else hint[one])
        except McmcTextError:
            continue
        except Exception as single:
            error, rows, x = single, [row], x[one]
            break
    problem, where = f"raised {type(error).__name__}: {error}", raised_at(error, term.code)
    remedy = "; ".join(getattr(error, "__notes__", ()))
    found = EnergyError(problem, term=term.name, rows=rows, x=x, where=where, remedy=remedy)
    _complete(found, term)
    raise found from error


def _complete(error: EnergyError, term: Term) -> None:
    """Fill in the texts of its states, and the line of the user's function, where the term knows them."""
    if error.x is not None and not error.texts:
        error.texts = term.texts(error.x)
    if error.where is None and term.code != term.values:
        error.where = defined_at(term.code)
