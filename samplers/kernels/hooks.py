"""Optional methods by which tests prove a kernel exactly, and not by simulation alone.

``step_matrix(space, beta) -> float64 [from, to]``
    the exact probabilities of one step over ``space.states``. A kernel that takes turns returns ``[turns, from, to]``:
    its step ``t`` has matrix ``t mod turns``.
``cost(x) -> (calls, rows)``
    the most that one step from ``x [chains, ...]`` may ask of the energy.

``reversible``
    ``False`` for a kernel whose steps leave the target invariant, but are not their own reverse: one that takes turns.

A kernel that makes one random choice for all chains of a step, as ``Mixture`` does, also has ``branches``, the kernels
that it may be in a step, and ``batch_matrices``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor

from samplers.errors import InvalidInput
from samplers.types import Kernel, Proposal, select

__all__ = [
    "MissingHook",
    "OtherLaw",
    "Space",
    "batch_matrices",
    "branches",
    "check_reversible",
    "draw_alone",
    "is_reversible",
    "proposal_matrix",
    "selected",
    "step_cost",
    "step_matrices",
]


class Space(Protocol):
    """A target over a list of states: ``states int64 [states, sites]``, their energies, and their places in the list.

    ``index(x)`` is ``int64 [rows]`` for ``x [rows, sites]``.
    """

    states: Tensor

    def energy(self, x: Tensor, /) -> Tensor: ...

    def index(self, x: Tensor, /) -> Tensor: ...


@dataclass
class OtherLaw:
    """The states of a ``Space`` with another energy."""

    states: Tensor
    energy: Callable[[Tensor], Tensor]
    index: Callable[[Tensor], Tensor]


class MissingHook(InvalidInput):
    """A kernel, or a part of one, does not have an optional method that a test asked for."""


def step_matrices(kernel: Kernel, space: Space, beta: float = 1.0) -> Tensor:
    """``float64 [turns, from, to]``: the matrices of a kernel's steps until they repeat. Raises ``MissingHook``."""
    hook = getattr(kernel, "step_matrix", None)
    if hook is None:
        raise MissingHook(f"no exact matrix is known for {type(kernel).__name__}: it has no step_matrix(space, beta)")
    matrix: Tensor = hook(space, beta)
    return matrix.reshape(-1, *matrix.shape[-2:])


def batch_matrices(kernel: Kernel, space: Space, betas: Sequence[float]) -> Tensor:
    """``float64 [turns, from, to]`` over tuples of states: rows of one batch, one at each of ``betas``.

    Rows move independently, so the matrices multiply; a kernel that makes one choice for all rows of a batch has a
    method ``batch_matrices(space, betas)`` of its own.
    """
    own = getattr(kernel, "batch_matrices", None)
    if own is not None:
        matrices: Tensor = own(space, betas)
        return matrices
    rungs = [step_matrices(kernel, space, beta) for beta in betas]
    return torch.stack([reduce(torch.kron, turn) for turn in zip(*rungs, strict=True)])


def step_cost(kernel: Kernel, x: Tensor) -> tuple[int, int]:
    """The most energy calls and rows of a step from ``x``. Raises ``MissingHook``."""
    hook = getattr(kernel, "cost", None)
    if hook is None:
        raise MissingHook(f"{type(kernel).__name__} has no cost(x)")
    calls, rows = hook(x)
    return calls, rows


def branches(kernel: Kernel) -> list[Kernel]:
    """What the kernel is, given the choice that all chains of a step share; itself if there is none."""
    return list(getattr(kernel, "branches", [kernel]))


def is_reversible(kernel: Kernel) -> bool:
    """Whether a sequence of its steps is its own reverse: what a kernel's ``reversible`` says, by default yes."""
    return bool(getattr(kernel, "reversible", True))


def check_reversible(kernel: Kernel) -> None:
    """Raise ``InvalidInput`` for a kernel whose moves another one cannot correct: it has no known ratio."""
    if getattr(kernel, "no_accept_step", False):
        raise InvalidInput(f"{type(kernel).__name__} accepts proposals whatever their energy; give an exact kernel")
    if not is_reversible(kernel):
        raise InvalidInput(
            f"{type(kernel).__name__} is not reversible, so its moves have no known ratio; "
            "give a reversible kernel, such as a Mixture of its parts"
        )


def selected(accepted: Tensor, new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """What an inner kernel keeps: of a rejected move the rows of before; what is kept for all chains, as it left it."""
    found: dict[str, Any] = {}
    for name, value in new.items():
        if isinstance(value, Mapping):
            found[name] = selected(accepted, value, old[name])
        else:
            by_chain = value.dim() > 0 and len(value) == len(accepted)
            found[name] = select(accepted, value, old[name]) if by_chain else value
    return found


def draw_alone(proposal: Proposal) -> Callable[[Tensor, torch.Generator], Tensor] | None:
    """The proposal's ``draw``, unless a subclass has another ``__call__`` and no ``draw`` of its own."""
    for kind in type(proposal).__mro__:
        if "__call__" in vars(kind):
            return getattr(proposal, "draw", None) if "draw" in vars(kind) else None
    return None


def proposal_matrix(proposal: Proposal, states: Tensor, *, max_rows: int = 4096) -> Tensor:
    """``log q(to | from)``, ``[from, to]`` over ``states [states, sites]``; calls of at most ``max_rows`` pairs."""
    size = len(states)
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size)).reshape(-1, 2)
    parts = [proposal.log_prob(states[part[:, 1]], states[part[:, 0]]) for part in pairs.split(max_rows)]
    return torch.cat(parts).reshape(size, size)
