"""The nouns: what a chain remembers, what a step tells, and the three protocols that users implement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["ChainState", "Distribution", "Energy", "Kernel", "Proposal", "Proposed", "StepInfo", "select"]


class ChainState(NamedTuple):
    """All that the next step needs.

    x
        ``[chains, ...]`` the states.
    energy
        ``float64 [chains]`` their energies in nats, never tempered.
    aux
        the kernel's own memory: a nested mapping of tensors, whose names, types and shapes are always those of
        ``init`` (so that a run which goes on knows what it must find).
    terms
        ``float64 [chains, terms]`` the weighted terms of ``energy``, in the order of ``term_names(energy)``.
    """

    x: Tensor
    energy: Tensor
    aux: Mapping[str, Any]
    terms: Tensor


class StepInfo(NamedTuple):
    """What a person wants to know of one step.

    accepted
        ``bool [chains]`` the proposed state was taken (a proposal equal to the old state counts).
    changed
        ``bool [chains]`` the state differs from the one before.
    kind
        ``int64 [chains]`` the kind of move, an index into the kernel's ``kinds``.
    """

    accepted: Tensor
    changed: Tensor
    kind: Tensor


@dataclass(frozen=True)
class Proposed:
    """A proposed state with both log-densities, ``float64 [chains]`` in nats.

    ``log_q_forward = log q(x' | x)`` and ``log_q_reverse = log q(x | x')``; a reverse of ``-inf`` is always rejected.
    ``kind`` (``int64 [chains]``) indexes the proposal's ``kinds``. ``hint`` is knowledge about ``x'`` that an energy
    of the same model may reuse; samplers pass it on unread. ``memory`` is that of ``x'``, of a proposal that has one.
    """

    x: Tensor
    log_q_forward: Tensor
    log_q_reverse: Tensor
    kind: Tensor | None = None
    hint: Any = None
    memory: Tensor | None = None


@runtime_checkable
class Energy(Protocol):
    """``x [chains, ...] -> [chains]`` in nats; lower is likelier, ``+inf`` forbids, NaN is an error."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Proposal(Protocol):
    """A conditional distribution that can be drawn from and evaluated.

    ``log_prob(x_to, x_from)`` is ``float64 [chains]`` in nats: it lets tests prove that draw and density agree.
    A proposal that makes several kinds of move names them in an attribute ``kinds``.

    One that would reckon the same of a state step after step has a method ``memory(x)``, a tensor ``[chains, ...]``
    of one type and shape. Metropolis-Hastings then calls ``proposal(x, rng, memory)``, and the proposed states come
    with theirs; called without, the proposal makes its own. A memory is a function of its state, but for rounding: to
    keep it saves work and changes no density.
    """

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed: ...

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor: ...


class Kernel(Protocol):
    """A Markov transition. Pure: all memory is in the state that it returns.

    ``beta`` (a number or ``[chains]``) multiplies the energy in the accept step only: tempering costs no model call.
    A kernel that takes proposals whatever their energy says so by an attribute ``always_accepts``, which is true.
    """

    kinds: tuple[str, ...]

    def init(self, x: Tensor, energy: Energy) -> ChainState: ...

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]: ...


class Distribution(Protocol):
    """What rejection and importance sampling draw from; ``torch.distributions`` objects are such."""

    def sample(self, sample_shape: torch.Size) -> Tensor: ...

    def log_prob(self, value: Tensor) -> Tensor: ...


def select(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of ``new`` where ``mask [chains]`` is true, else of ``old``."""
    return torch.where(mask.reshape(-1, *[1] * (new.dim() - 1)), new, old)
