"""Targets small enough to list every state, so that their law is known exactly."""

from __future__ import annotations

import math
from functools import reduce
from itertools import pairwise
from operator import mul

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.errors import InvalidInput
from samplers.randomness import categorical
from samplers.types import Energy

__all__ = ["Enumerated", "enumerate_states", "random_target", "two_mode_target"]

MAX_CODES = 2**24
ROWS = 4096


class Enumerated:
    """Any energy over a list of states, which are scored once; later calls look them up.

    ``states int64 [states, sites]`` without repeats; ``energies float64 [states]`` in nats, ``+inf`` forbids.
    Raises ``InvalidInput`` for repeated states, a space too large to index, or a state that is not listed.
    """

    def __init__(self, states: Tensor, energy_function: Energy, *, max_rows: int = ROWS) -> None:
        self.states = states
        self.energies = torch.cat([evaluate(energy_function, part).energy for part in states.split(max_rows)])
        values = states.unique()
        size = len(values) ** states.shape[1]
        if size > MAX_CODES:
            raise InvalidInput(f"{len(values)} values at {states.shape[1]} sites are too many to index; use fewer")
        # Unknown values, also below and above all known ones, get a digit that takes every code out of range.
        self._offset = int(values[0]) - 1
        self._digits = torch.full((int(values[-1]) - self._offset + 2,), float(size), dtype=torch.float64)
        self._digits[values - self._offset] = torch.arange(len(values), dtype=torch.float64)
        self._places = float(len(values)) ** torch.arange(states.shape[1], dtype=torch.float64)
        self._ranks = torch.full((size + 1,), -1)
        codes = self._codes(states)
        if len(codes.unique()) < len(codes):
            raise InvalidInput("a state is listed twice; list each once")
        self._ranks[codes] = torch.arange(len(states))

    def __len__(self) -> int:
        return len(self.states)

    def index(self, x: Tensor) -> Tensor:
        """``int64 [chains]``: the place of each row of ``x [chains, sites]`` in ``states``."""
        ranks = self._ranks[self._codes(x)]
        if bool((ranks < 0).any()):
            raise InvalidInput(f"state {x[int(ranks.argmin())].tolist()} is not one of the {len(self)} listed")
        return ranks

    def _codes(self, x: Tensor) -> Tensor:
        digits = self._digits[(x - self._offset).clamp(0, len(self._digits) - 1)]
        return (digits @ self._places).clamp(max=len(self._ranks) - 1).long()

    def energy(self, x: Tensor) -> Tensor:
        """``float64 [chains]`` in nats."""
        return self.energies[self.index(x)]

    def probabilities(self, beta: float = 1.0) -> Tensor:
        """``float64 [states]``: the law proportional to ``exp(-beta * energy)``; forbidden states have none at any."""
        allowed = self.energies != math.inf
        above = torch.where(allowed, self.energies - self.energies.min(), 0.0)
        weights = (-beta * above).exp() * allowed
        return weights / weights.sum()

    def sample(self, n: int, rng: torch.Generator, beta: float = 1.0) -> Tensor:
        """``int64 [n, sites]``: independent exact draws."""
        return self.states[categorical(self.probabilities(beta).log().expand(n, -1), rng)]

    def shifted(self, constant: float) -> Enumerated:
        """The same law with ``constant`` nats added to every energy."""
        return Enumerated(self.states, lambda x: self.energy(x) + constant)

    def relaxed(self, inputs: Tensor) -> Tensor:
        """``float64 [chains]``: the energy as a function of one-hot ``inputs float64 [chains, sites, values]``.

        It is linear in the inputs of each site; forbidden states have the highest energy of the others.
        """
        finite = self.energies.where(self.energies < math.inf, self.energies[self.energies < math.inf].max())
        # As products of matrices, whose gradients are such too: those of an index are many times slower.
        one_hot = torch.nn.functional.one_hot(self.states, inputs.shape[2]).to(inputs.dtype)
        chosen = (inputs[:, site] @ one_hot[:, site].T for site in range(self.states.shape[1]))  # [chains, states]
        return reduce(mul, chosen) @ finite

    def on_grid(self, bits: int = 10) -> Enumerated:
        """Energies rounded to multiples of ``2**-bits``: sums with such numbers are then exact."""
        return Enumerated(self.states, lambda x: (self.energy(x) * 2**bits).round() / 2**bits)


def enumerate_states(values: int, sites: int) -> Tensor:
    """``int64 [values**sites, sites]``, the last site fastest."""
    return torch.cartesian_prod(*[torch.arange(values)] * sites).reshape(-1, sites)


def random_target(values: int, sites: int, *, seed: int, scale: float = 0.8, forbidden: int = 0) -> Enumerated:
    """Random unary and neighbour-pair energies of standard deviation ``scale`` nats: no symmetry, every site coupled.

    ``forbidden`` states, drawn at random, get ``+inf``.
    """
    rng = torch.Generator().manual_seed(seed)  # a change of generator() must not change what is tested
    states = enumerate_states(values, sites)
    unary = scale * torch.randn(sites, values, dtype=torch.float64, generator=rng)
    pairs = scale * torch.randn(sites, values, values, dtype=torch.float64, generator=rng)
    energies = unary[torch.arange(sites), states].sum(dim=1)
    for i, j in pairwise(range(sites)):
        energies += pairs[i, states[:, i], states[:, j]]
    energies[torch.randperm(len(states), generator=rng)[:forbidden]] = math.inf
    return Enumerated(states, lambda x: energies)


def two_mode_target(sites: int, *, depth: float, seed: int = 0) -> Enumerated:
    """Two values a site; all zeros and all ones are the modes, ``depth`` nats a site of distance to the nearer one."""
    states = enumerate_states(2, sites)
    ones = states.sum(dim=1)
    rng = torch.Generator().manual_seed(seed)
    ripple = 0.1 * torch.randn(len(states), dtype=torch.float64, generator=rng)
    energies = depth * torch.minimum(ones, sites - ones).double() + ripple
    return Enumerated(states, lambda x: energies)
