"""States, steps, and the protocols that users implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "ChainState",
    "Distribution",
    "Drawn",
    "Energy",
    "Kernel",
    "PopulationDraw",
    "Proposal",
    "Proposed",
    "StepInfo",
    "Term",
    "differs",
    "select",
]


class ChainState(NamedTuple):
    """Everything the next step needs.

    x
        ``[chains, ...]`` the states.
    energy
        ``float64 [chains]`` their energies in nats, never tempered.
    aux
        whatever else the kernel needs: a nested mapping of tensors. Names, types and shapes must stay those that
        ``init`` returned, so that a run can be resumed.
    terms
        ``float64 [chains, terms]`` the weighted terms of the energy, in the order of ``term_names(energy)``.
    """

    x: Tensor
    energy: Tensor
    aux: Mapping[str, Any]
    terms: Tensor


class StepInfo(NamedTuple):
    """What happened in one step.

    accepted
        ``bool [chains]`` the proposal was accepted (a proposal equal to the old state counts).
    changed
        ``bool [chains]`` the state differs from the one before.
    move
        ``int64 [chains]`` which move was tried, an index into the kernel's ``move_names``.
    """

    accepted: Tensor
    changed: Tensor
    move: Tensor


@dataclass(frozen=True)
class Proposed:
    """A proposed state with both log-densities, ``float64 [chains]`` in nats.

    ``log_q_forward`` is ``log q(x' | x)`` and ``log_q_reverse`` is ``log q(x | x')``. A reverse density of ``-inf``
    means that the reverse move is impossible: the proposal is rejected. ``move`` (``int64 [chains]``) is an index into
    the proposal's ``move_names``. ``hint`` is what the proposal has computed about ``x'`` and an energy of the same
    model may reuse; samplers pass it on without reading it, or its rows ``hint[rows]`` with those states. ``memory`` is
    the memory of ``x'``, for a proposal that has one.
    """

    x: Tensor
    log_q_forward: Tensor
    log_q_reverse: Tensor
    move: Tensor | None = None
    hint: Any = None
    memory: Tensor | None = None


class Drawn(NamedTuple):
    """States ``x [n, ...]`` drawn from a distribution, and what drawing them told.

    ``log_q float64 [n]`` is their log-density in nats. ``hint`` is what an energy of the same model may reuse, as in
    ``Proposed``.
    """

    x: Tensor
    log_q: Tensor
    hint: Any = None


@runtime_checkable
class Energy(Protocol):
    """``x [chains, ...] -> [chains]`` in nats; lower is likelier, ``+inf`` forbids, NaN is an error."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Term(Protocol):
    """The part of ``EnergyTerm`` that a checked call uses.

    ``code`` is the function that error messages point at; ``texts(x)`` are the states as error messages show them.
    """

    name: str

    @property
    def code(self) -> Callable[..., Any]: ...

    @property
    def stops_early(self) -> bool: ...

    def values(self, x: Tensor, hint: Any = None) -> Tensor: ...

    def values_within(self, x: Tensor, limit: Tensor, hint: Any = None) -> Tensor: ...

    def texts(self, x: Tensor) -> list[str]: ...


class Proposal(Protocol):
    """A conditional distribution that can be drawn from and evaluated.

    ``log_prob(x_to, x_from)`` is ``float64 [chains]`` in nats; tests use it to prove that draws and densities agree.
    A proposal with several moves names them in an attribute ``move_names``.

    A proposal may cache per-state quantities: implement ``memory(x)``, which returns a tensor ``[chains, ...]`` of one
    type and shape. Metropolis-Hastings stores it and calls ``proposal(x, rng, memory)``, and ``Proposed.memory`` must
    hold the memory of the proposed states. Without the argument the proposal computes its own. A memory is a function
    of its state (up to rounding), so caching saves work and changes no density.

    A proposal with one move may implement ``draw(x, rng)``, which returns the ``x`` of ``__call__`` from the same
    random numbers, without densities and hint. ``PseudoGibbs``, which has no use for these, then calls it.
    """

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed: ...

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor: ...


class Kernel(Protocol):
    """A Markov transition. All that the next step needs is in the state that it returns.

    ``beta`` (a number or ``[chains]``) multiplies the energy in the accept step only, so tempering costs no extra model
    calls. A kernel that accepts proposals whatever their energy sets the attribute ``no_accept_step`` to true.

    Two optional methods let ``samplers.testing.check_kernel`` prove a kernel exactly, and not by simulation alone:
    ``step_matrix(space, beta)``, the exact transition matrix over a finite space, and ``cost(x)``, the most energy
    calls and rows of a step (see ``samplers/kernels/hooks.py``).
    """

    move_names: tuple[str, ...]

    def init(self, x: Tensor, energy: Energy) -> ChainState: ...

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]: ...


class PopulationDraw(NamedTuple):
    """What ``smc`` begins with, from a distribution that has ``draw_population(count, rng)``.

    x
        ``[count, ...]`` states of equal weight: the mean of a statistic times ``exp(log_z)`` is on average its sum
        weighted by ``exp(log_prob)``, which need not add up to 1.
    log_z
        an estimate of the log of what ``exp(log_prob)`` adds up to; ``exp(log_z)`` is without bias.
    ancestor
        ``int64 [count]``: which of ``count`` states each was drawn from by the last weights. Few: the weights died.
    """

    x: Tensor
    log_z: float
    ancestor: Tensor


class Distribution(Protocol):
    """A proposal of rejection and importance sampling, such as any ``torch.distributions`` object.

    A distribution that knows the density of what it draws, or something of its energy, may return it with the draws:
    implement ``sample_and_log_prob(count) -> Drawn``, which draws what ``sample(torch.Size([count]))`` would and
    saves ``log_prob``, and with a hint the energy. A subclass with another ``sample`` or ``log_prob`` needs its own.
    """

    def sample(self, sample_shape: torch.Size) -> Tensor: ...

    def log_prob(self, value: Tensor) -> Tensor: ...


def select(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of ``new`` where ``mask bool [chains]`` is true, rows of ``old`` elsewhere."""
    return torch.where(mask if new.dim() == 1 else mask.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def differs(new: Tensor, old: Tensor) -> Tensor:
    """``bool [chains]``: rows of ``new [chains, ...]`` that are not those of ``old``."""
    different = new != old
    return different.any(dim=1) if different.dim() == 2 else different.reshape(len(new), -1).any(dim=1)
