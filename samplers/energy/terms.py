"""Algebra of energies: named terms, weighted sums, constraints. ``checked_call`` checks every call of a term.

``fluency + 2.0 * similarity + keywords`` is an energy that remembers its terms. Any callable ``x -> [chains]`` takes
part once it is named: ``named("short", lambda x: x.sum(1))``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.energy.candidates import replaced
from samplers.energy.checked_call import checked_values
from samplers.errors import EnergyError, InvalidInput
from samplers.types import Energy

__all__ = [
    "CallCounter",
    "Constraint",
    "EnergyTerm",
    "Evaluation",
    "Flat",
    "WeightedSum",
    "in_order",
    "lower_bound_of",
    "named",
    "parts_of",
    "term_names",
]


class EnergyTerm(Configurable, ABC):
    """An energy with a name, which can be added to others and multiplied by a weight.

    Implement ``values(x, hint)``, which returns ``[chains]`` in nats. ``hint`` is what the proposal knows about ``x``
    (see ``Proposed.hint``); ignore one that you do not recognise.

    ``is_constraint``: values are 0 or ``+inf`` only. Constraints are evaluated first, and the other terms only on the
    rows that they allow. ``expensive``: the term runs a model; such terms are evaluated last. ``lower_bound``: no value
    is below it, in nats. The higher it is, the sooner the remaining terms of a rejected proposal can be skipped.
    ``clause`` is what a constraint asks of a state, as it ends "all states ...", such as "that hold 'music'".
    ``formula`` is what a term is, where its name does not say it: "-log p(text | words)". A term that can tell early
    that a state is above a limit may implement ``values_within``.
    """

    name: str = "energy"
    is_constraint: bool = False
    expensive: bool = False
    lower_bound: float = -math.inf
    clause: str = ""
    formula: str = ""

    @property
    def code(self) -> Callable[..., Any]:
        """The function that computes the energy; error messages point at it."""
        return self.values

    @abstractmethod
    def values(self, x: Tensor, hint: Any = None) -> Tensor: ...

    @property
    def stops_early(self) -> bool:
        """Whether it can save work by a limit, with a ``values_within`` of its own."""
        return type(self).values_within is not EnergyTerm.values_within

    def values_within(self, x: Tensor, limit: Tensor, hint: Any = None) -> Tensor:
        """``values``, where a state whose energy is above its ``limit float64 [chains]``, in nats, may get ``+inf``.

        The accept step calls it with the energy above which a proposal is rejected: the uniform is drawn first.
        Override it where a part of the work shows that, such as the first terms of a sum of positive ones; the energy
        of all other states must be the same to the last bit.
        """
        return self.values(x, hint)

    @property
    def shares_candidates(self) -> bool:
        """Whether candidates of one chain are scored together, by a ``candidate_values`` of its own."""
        return type(self).candidate_values is not EnergyTerm.candidate_values

    def texts(self, x: Tensor) -> list[str]:
        """The states as error messages show them: one text a row, or nothing where the term cannot decode them."""
        return []

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        """``[chains, K]``: energies of ``x`` with column ``site [chains]`` set to each of ``values [chains, K]``.

        Override it where candidates of one chain can share work, with the same results. An ``EnergyError`` raised here
        numbers its rows as ``replaced(x, site, values)`` does.
        """
        return self.values(replaced(x, site, values)).reshape(values.shape)

    def __call__(self, x: Tensor) -> Tensor:
        return self.values(x)

    def __add__(self, other: Energy) -> WeightedSum:
        return WeightedSum(parts_of(self) + parts_of(other))

    def __radd__(self, other: Energy) -> WeightedSum:
        return WeightedSum(parts_of(other) + parts_of(self))

    def __mul__(self, weight: float) -> WeightedSum:
        return WeightedSum([(w * weight, part) for w, part in parts_of(self)])

    __rmul__ = __mul__


class _Named(EnergyTerm):
    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        self.name, self.function = name, function

    @property
    def code(self) -> Callable[..., Any]:
        return self.function

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.function(x)


def named(name: str, function: Callable[[Tensor], Tensor]) -> EnergyTerm:
    """``function`` as a term called ``name``."""
    return _Named(name, function)


class Flat(EnergyTerm):
    """Zero everywhere: the energy to give to a sampler that has no target."""

    name = "flat"

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)


class Constraint(EnergyTerm):
    """0 where ``allowed(x) -> bool [chains]`` holds, ``+inf`` elsewhere."""

    is_constraint = True
    lower_bound = 0.0

    def __init__(self, name: str, allowed: Callable[[Tensor], Tensor]) -> None:
        self.name, self.allowed = name, allowed

    @property
    def code(self) -> Callable[..., Any]:
        return self.allowed

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        zeros = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return zeros.masked_fill(~self.allowed(x), math.inf)


class CallCounter(EnergyTerm):
    """``inner``, with the number of ``calls`` and of ``rows`` scored: the cost by which samplers are compared."""

    transient = ("calls", "rows")

    def __init__(self, inner: Energy) -> None:
        self.inner = inner
        self.name, self.is_constraint = " + ".join(term_names(inner)), getattr(inner, "is_constraint", False)
        self.calls = self.rows = 0

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return getattr(self.inner, "expensive", False)

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return getattr(self.inner, "lower_bound", -math.inf)

    @property
    def code(self) -> Callable[..., Any]:
        return self.inner.code if isinstance(self.inner, EnergyTerm) else self.inner

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        self.calls += 1
        self.rows += len(x)
        return _raw_values(self.inner, x, hint)


class WeightedSum(EnergyTerm):
    """``sum of weight * term``, which ``+`` and ``*`` of energies make.

    Constraints are evaluated first and expensive terms last, those that stop early at the very end, each only on rows
    that are still possible. The weight of a constraint has no meaning and must be positive. Raises ``InvalidInput`` for
    two terms of the same name.
    """

    def __init__(self, parts: list[tuple[float, EnergyTerm]]) -> None:
        for weight, part in parts:
            if not math.isfinite(weight):
                raise InvalidInput(f"the weight of energy {part.name!r} is {weight}; give a finite number")
            if part.is_constraint and weight <= 0:
                raise InvalidInput(f"the weight of constraint {part.name!r} is {weight}; give a positive one")
        names = [part.name for _, part in parts]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"two energies are called {repeated!r}; name them apart")
        self.parts = parts
        self.name = " + ".join(names)
        self.is_constraint = all(part.is_constraint for _, part in parts)

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return any(part.expensive for _, part in self.parts)

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return sum(lower_bound_of(weight, part) for weight, part in self.parts)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.evaluate(x, hint).energy

    def evaluate(
        self, x: Tensor, hint: Any = None, limit: Tensor | None = None, rows: Tensor | None = None
    ) -> Evaluation:
        """See ``samplers.evaluate``."""
        terms = torch.full((len(x), len(self.parts)), math.inf, dtype=torch.float64, device=x.device)
        possible = torch.ones(len(x), dtype=torch.bool, device=x.device)
        order = in_order(self.parts)
        known = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for place, (column, weight, part) in enumerate(order):
            call = partial(checked_values, part, weight=weight, count_nan=self.nan_counter(column))
            rest = sum(lower_bound_of(w, later) for _, w, later in order[place + 1 :])
            share = None if limit is None or weight <= 0 else (limit - known - rest) / weight
            if bool(possible.all()):
                values = call(x, hint, rows=rows, limit=share)
            elif bool(possible.any()):
                some = possible.nonzero().squeeze(1)
                values = terms[:, column].clone()
                numbers, share = some if rows is None else rows[some], None if share is None else share[some]
                values[some] = call(x[some], None if hint is None else hint[some], rows=numbers, limit=share)
            else:
                break
            terms[:, column] = values
            possible &= values != math.inf
            if limit is not None:
                known = known + values
                possible &= known + rest <= limit
        return Evaluation(self.total(terms, x, rows), terms)

    def total(self, terms: Tensor, x: Tensor, rows: Tensor | None = None, *, candidates: int = 1) -> Tensor:
        """Sums of ``terms [states * candidates, terms]``. Raises ``EnergyError`` where one overflows to ``-inf``.

        ``x [states, ...]``; ``rows [states]`` are the numbers that errors give to them.
        """
        total = terms.sum(dim=1)
        possible = total > -math.inf  # which NaN is not
        if not bool(possible.all()):
            low = (~possible).nonzero().squeeze(1) // candidates
            at = low if rows is None else rows[low]
            raise EnergyError("is below what a number can hold", term=self.name, rows=at.tolist(), x=x[low])
        return total

    def nan_counter(self, column: int) -> Callable[..., None] | None:
        """Called with the NaN of the term in that column; ``None``: NaN is an error."""
        return None


class Evaluation(NamedTuple):
    """``energy float64 [chains]``, and ``terms float64 [chains, terms]``, weighted, which add up to it."""

    energy: Tensor
    terms: Tensor


def term_names(energy: Energy) -> tuple[str, ...]:
    """Names of the terms of an energy, in the order in which they are reported."""
    if isinstance(energy, WeightedSum):
        return tuple(part.name for _, part in energy.parts)
    return (getattr(energy, "name", None) or getattr(energy, "__name__", None) or type(energy).__name__,)


def parts_of(energy: Energy) -> list[tuple[float, EnergyTerm]]:
    """Weights and terms of an energy. Raises ``InvalidInput`` for what cannot be called."""
    if isinstance(energy, WeightedSum):
        return energy.parts
    if isinstance(energy, EnergyTerm):
        return [(1.0, energy)]
    if not callable(energy):
        raise InvalidInput(f"cannot add {energy!r} to an energy; add a callable x -> [chains]")
    return [(1.0, named(term_names(energy)[0], energy))]


def in_order(parts: list[tuple[float, EnergyTerm]]) -> list[tuple[int, float, EnergyTerm]]:
    """Column, weight (1 for a constraint) and term, in the order in which to evaluate them."""
    columns = [(column, 1.0 if part.is_constraint else weight, part) for column, (weight, part) in enumerate(parts)]
    return sorted(columns, key=lambda item: (not item[2].is_constraint, item[2].expensive, item[2].stops_early))


def lower_bound_of(weight: float, part: EnergyTerm) -> float:
    """The lower bound of ``weight * part``, in nats."""
    if weight == 0:
        return 0.0
    return weight * part.lower_bound if weight > 0 else -math.inf


def _raw_values(energy: Energy, x: Tensor, hint: Any) -> Tensor:
    return energy.values(x, hint) if isinstance(energy, EnergyTerm) else energy(x)
