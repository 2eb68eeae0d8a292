"""Small proposals, energies and kernels whose behaviour is known without running them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Normal

from samplers import Cycle, Flat, Gibbs, Kernel, MetropolisHastings, Mixture, Proposed, PseudoGibbs, Tempered
from samplers.randomness import categorical, draw_site

VALUES = 3
SITES = 4


class Replace:
    """A uniform value at a uniform site; symmetric."""

    move_names = ("replace",)

    def __init__(self, values: int = VALUES) -> None:
        self.values = values

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        site = draw_site(torch.ones_like(x, dtype=torch.bool), rng)
        value = categorical(torch.zeros(len(x), self.values, dtype=torch.float64, device=x.device), rng)
        new = x.clone()
        new[torch.arange(len(x), device=x.device), site] = value.to(x.dtype)
        return Proposed(new, self.log_prob(new, x), self.log_prob(x, new))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        differing = (x_to != x_from).sum(dim=1)
        ways = torch.where(differing == 0, x_to.shape[1], 1) * (differing <= 1)
        return (ways / (x_to.shape[1] * self.values)).double().log()


class Walk:
    """A Gaussian random walk on ``[chains, dimensions]``."""

    move_names = ("walk",)

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=rng)
        new = x + self.scale * noise
        return Proposed(new, self.log_prob(new, x), self.log_prob(x, new))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return Normal(x_from, self.scale).log_prob(x_to).sum(dim=1).double()


class Shift:
    """``x + by`` for every chain; ``reverse`` is what it claims for the density of the way back.

    Not a valid move, but one whose every step is known: 0 is always accepted under a flat energy, ``-inf`` never.
    """

    def __init__(
        self,
        by: int,
        *,
        reverse: float = 0.0,
        move_names: tuple[str, ...] = ("shift",),
        move: int = 0,
        hint: bool = False,
    ) -> None:
        self.by, self.reverse, self.move_names, self.move, self.hint = by, reverse, move_names, move, hint

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        move = torch.full((len(x),), self.move, device=x.device)
        return Proposed(x + self.by, zero, zero + self.reverse, move, 10 * x[:, 0] if self.hint else None)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return torch.where((x_to - x_from == self.by).all(dim=1), 0.0, -math.inf).double()


class Watched:
    """``function``, with something that is done before each call and is no part of what a run is made of."""

    transient = ("before",)

    def __init__(self, function: Callable[[Tensor], Tensor], before: Callable[[], None] | None = None) -> None:
        self.function, self.before = function, before

    def __call__(self, x: Tensor) -> Tensor:
        if self.before is not None:
            self.before()
        return self.function(x)


def climb() -> MetropolisHastings:
    """After step ``t`` every chain is at its start plus ``t + 1``."""
    return MetropolisHastings(Shift(1))


def stand() -> MetropolisHastings:
    """Never moves."""
    return MetropolisHastings(Shift(1, reverse=-math.inf, move_names=("blocked",)))


def tilt(x: Tensor) -> Tensor:
    """A skewed energy in which neighbouring sites interact."""
    x = x.double()
    return 0.7 * x.sum(dim=1) + 0.5 * (x[:, 1:] * x[:, :-1]).sum(dim=1)


def starts(chains: int, *, sites: int = SITES) -> Tensor:
    """``int64 [chains, sites]``, rows that differ."""
    return (torch.arange(chains * sites).reshape(chains, sites) * 7 // 2) % VALUES


KERNELS: dict[str, Callable[[], Kernel]] = {
    "metropolis": lambda: MetropolisHastings(Replace()),
    "gibbs random": lambda: Gibbs(VALUES),
    "gibbs systematic": lambda: Gibbs(VALUES, scan="systematic"),
    "pseudo-gibbs": lambda: PseudoGibbs(Replace()),
    "cycle": lambda: Cycle([Gibbs(VALUES, scan="systematic"), MetropolisHastings(Replace())]),
    "mixture": lambda: Mixture([(MetropolisHastings(Replace()), 0.75), (Gibbs(VALUES), 0.25)]),
    "tempered": lambda: Tempered(MetropolisHastings(Replace()), [1.0, 0.5, 0.0]),
    "mixture with tempered": lambda: Mixture([(Gibbs(VALUES), 0.5), (Tempered(Gibbs(VALUES), [1.0, 0.3]), 0.5)]),
}

__all__ = [
    "KERNELS",
    "SITES",
    "VALUES",
    "Flat",
    "Replace",
    "Shift",
    "Walk",
    "Watched",
    "climb",
    "stand",
    "starts",
    "tilt",
]
