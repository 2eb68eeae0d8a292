"""Single-site changes chosen by a gradient: the first-order form of a locally informed move."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from samplers.config import Configurable
from samplers.errors import InvalidInput, ProposalError
from samplers.randomness import categorical
from samplers.types import Proposed

__all__ = ["GradientProposal"]


class GradientProposal(Configurable):
    """Change one site, chosen with its value by what a gradient says the energy would be: for ``MetropolisHastings``.

    Target
        that of the kernel: any estimate is a proposal.
    Acceptance ratio
        Hastings': ``q(x' | x)`` is the softmax, over all single-site changes, of half the fall of the energy that the
        gradient at ``x`` tells, and ``q(x | x')`` that of the gradient at ``x'``.
    Reversible
        yes, with a Metropolis-Hastings kernel.
    Reference
        Grathwohl et al. 2021, ICML, "Oops I took a gradient", algorithm 1 (Gibbs with gradients); the half is the
        square root of Zanella 2020. The estimate is the linear part of the energy as a function of one-hot inputs.
    Cost
        one gradient a step, of the proposed state; that of the current one is the proposal's memory. A gradient costs
        about three energies. The energy itself is scored by the kernel.

    Main arguments: ``relaxed(inputs) -> [chains]``, the energy in nats, or anything like it, as a function of ``inputs
    float64 [chains, sites, values]``, which torch can differentiate and which is called with one-hot rows alone;
    ``values``, the number ``V`` of values ``0 .. V-1``. ``free(x) -> bool [chains, sites]`` says which sites may change
    (default: all); it may depend on anything. A chain without a free site stays.

    It pays where the energy is nearly linear in each site, as Ising and Potts models and small networks are, and most
    changes are bad. A token that a deep model has not read is often far from its linear estimate.

    Raises ``InvalidInput`` for ``values`` below 2, ``ProposalError`` for a gradient that is not finite.
    """

    move_names: tuple[str, ...] = ("gradient",)

    def __init__(
        self,
        relaxed: Callable[[Tensor], Tensor],
        values: int,
        *,
        free: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if values < 2:
            raise InvalidInput(f"values is {values}; give at least 2")
        self.relaxed, self.values, self.free = relaxed, values, free

    def memory(self, x: Tensor) -> Tensor:
        """``float64 [chains, sites, values]``: the gradient at ``x``."""
        with torch.inference_mode(False), torch.enable_grad():  # samplers run in inference mode
            inputs = one_hot(x.long(), self.values).double().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.relaxed(inputs).sum(), inputs)
        finite = gradient.isfinite().flatten(1).all(dim=1)
        if not bool(finite.all()):
            raise ProposalError(f"the gradient of relaxed(inputs) is not finite at chain {int((~finite).nonzero()[0])}")
        return gradient

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        gradient = self.memory(x) if memory is None else memory
        table, stuck = self._table(x, gradient)
        choice = categorical(table, rng).unsqueeze(1)
        site, value = choice // self.values, (choice % self.values).to(x)
        old = x.gather(1, site)
        new = x.scatter(1, site, torch.where(stuck.unsqueeze(1), old, value))
        new_gradient = self._gradient_after(new, gradient)
        back_table, no_way_back = self._table(new, new_gradient)
        back = back_table.gather(1, site * self.values + old.long()).squeeze(1).masked_fill(no_way_back, -math.inf)
        forward = table.gather(1, choice).squeeze(1).masked_fill(stuck, 0.0)
        return Proposed(new, forward, back.masked_fill(stuck, 0.0), memory=new_gradient)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: ``-inf`` for what no change of one free site makes."""
        (table, stuck), changed = self._table(x_from, self.memory(x_from)), x_to != x_from
        index = torch.arange(x_to.shape[1], device=x_to.device) * self.values + x_to.long()
        told = table.gather(1, index).masked_fill(~changed, 0.0).sum(dim=1)
        told = torch.where((changed.sum(dim=1) == 1) & ~stuck, told, -math.inf)
        return told.masked_fill(stuck & ~changed.any(dim=1), 0.0)

    def _gradient_after(self, new: Tensor, gradient: Tensor) -> Tensor:
        """The gradient at the proposed states; ``gradient`` is that at the old ones."""
        return self.memory(new)

    def _table(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of all changes, ``[chains, sites * values]``, and which chains have none."""
        current = x.long().unsqueeze(2)
        barred = torch.zeros_like(gradient, dtype=torch.bool).scatter(2, current, True)
        if self.free is not None:
            barred |= ~self.free(x.clone()).unsqueeze(2)
        stuck = barred.flatten(1).all(dim=1)
        barred &= ~stuck.reshape(-1, 1, 1)
        fall = gradient.gather(2, current) - gradient
        return (0.5 * fall).masked_fill(barred, -math.inf).flatten(1).log_softmax(dim=1), stuck
