"""Sequential Monte Carlo: populations of particles on the path from a distribution to the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from samplers.errors import InvalidInput, PopulationDied
from samplers.path import check_temperatures, energy_and_log_q, path_energy
from samplers.randomness import generator, systematic
from samplers.rejection import draw_scored
from samplers.run.chains import iterate
from samplers.run.progress import progress_bar
from samplers.types import Distribution, Energy, Kernel

__all__ = ["SMCSample", "smc"]

HALVINGS = 60  # of the interval in which the next temperature is searched
MOST_STAGES = 1000  # a path that needs more begins nowhere near its end


@dataclass(frozen=True)
class SMCSample:
    """Particles ``x [n, ...]`` of the target, their ``energy float64 [n]``, and how far to trust them.

    ``population int64 [n]`` says to which population a particle belongs; within one all weigh the same.
    ``log_z float64 [populations]``: for each an estimate of the log of ``integral exp(-energy)``. ``exp(log_z)`` is
    unbiased where the temperatures were given, and nearly so where they were chosen on the way; how far the populations
    differ says what an estimate is worth. ``temperatures``, ``ess`` and ``accepted``, by population and stage: the ``t``
    reached, the effective number of particles before resampling, the share of moves that were accepted.
    ``ancestors int64 [populations]``: how many draws of the distribution have descendants among the particles.
    """

    x: Tensor
    energy: Tensor
    population: Tensor
    log_z: Tensor
    temperatures: tuple[tuple[float, ...], ...]
    ess: tuple[tuple[float, ...], ...]
    accepted: tuple[tuple[float, ...], ...]
    ancestors: Tensor
    seed: int

    @property
    def log_weights(self) -> Tensor:
        """``float64 [n]``, normalised: a population counts in proportion to its estimate of the integral."""
        return (self.log_z[self.population]).log_softmax(dim=0)


@dataclass
class _Population:
    """Particles at ``t``: states, ``E`` and ``log q``, and the draw that each descends from."""

    x: Tensor
    energy: Tensor
    log_q: Tensor
    ancestor: Tensor
    t: float = 0.0
    log_z: float = 0.0
    temperatures: list[float] = field(default_factory=list)
    ess: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)


def smc(
    energy: Energy,
    distribution: Distribution,
    kernel: Kernel,
    *,
    num_particles: int,
    moves: int = 4,
    temperatures: Sequence[float] | None = None,
    populations: int = 1,
    min_ancestors: int = 2,
    seed: int = 0,
    progress: bool = True,
) -> SMCSample:
    """Draw particles from ``distribution`` and lead them to ``exp(-energy)``.

    Target
        ``exp(-energy)``, as the number of particles grows; at the stage ``t`` the law ``q^(1-t) exp(-t E)``.
    Weights
        from ``t`` to ``s`` a particle gets ``exp((s - t) (-E(x) - log q(x)))``. ``Z`` is estimated by the product of
        the mean weights, without bias for given temperatures. Then systematic resampling, and ``moves`` steps of
        ``kernel`` on the law at ``s``.
    Reference
        Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B 68, section 3.3.2.3; Neal 2001 for the path.
    Cost
        a stage: ``moves + 1`` times the energy and, up to the last, ``log q`` of every particle.

    Main arguments
        ``distribution`` has ``sample()`` and ``log_prob()``, as those of ``torch.distributions``, and must cover the
        target. ``kernel``: any kernel; it is given the energy of each stage.
    Other arguments
        ``temperatures`` rise to 1; by default each is the highest that leaves half of the particles in effect (an
        effective sample size of half of those that the target allows). ``populations`` are independent of each other,
        each of ``num_particles``. ``min_ancestors``: fewer draws with descendants are an error.
    Raises
        ``InvalidInput``; ``PopulationDied``; ``EnergyError`` as in ``sample``.
    """
    for name, number in (("num_particles", num_particles), ("moves", moves), ("populations", populations)):
        if number < 1:
            raise InvalidInput(f"{name} is {number}; give at least 1")
    given = None if temperatures is None else check_temperatures(temperatures)
    finished = []
    with progress_bar(populations, shown=progress) as bar:
        for index in range(populations):
            rng = generator(seed, index, stream="smc")
            x, log_q, value = draw_scored(energy, distribution, num_particles, rng)
            population = _Population(x, value, log_q, torch.arange(num_particles, device=x.device))
            for t in _temperatures(population, given):
                _reweight(population, t, rng, index, min_ancestors)
                _move(population, kernel, energy, distribution, moves, rng)
            finished.append(population)
            bar.update(1)
    return SMCSample(
        x=torch.cat([each.x for each in finished]),
        energy=torch.cat([each.energy for each in finished]),
        population=torch.arange(populations).repeat_interleave(num_particles).to(finished[0].x.device),
        log_z=torch.tensor([each.log_z for each in finished], dtype=torch.float64, device=finished[0].x.device),
        temperatures=tuple(tuple(each.temperatures) for each in finished),
        ess=tuple(tuple(each.ess) for each in finished),
        accepted=tuple(tuple(each.accepted) for each in finished),
        ancestors=torch.tensor([len(each.ancestor.unique()) for each in finished]),
        seed=seed,
    )


def _temperatures(population: _Population, given: list[float] | None) -> Iterator[float]:
    """Those given, or each the highest that leaves half of the particles in effect."""
    if given is not None:
        yield from given
        return
    while population.t < 1:
        if len(population.temperatures) == MOST_STAGES:
            raise PopulationDied(
                f"after {MOST_STAGES} stages the particles are at t = {population.t:.3g} of 1; give a distribution "
                "nearer to the target"
            )
        yield _next_temperature(population)


def _next_temperature(population: _Population) -> float:
    gain = -population.energy - population.log_q
    wanted = int((gain != -math.inf).sum()) / 2
    low, high = population.t, 1.0
    if _effective((high - population.t) * gain) >= wanted:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _effective((middle - population.t) * gain) >= wanted else (low, middle)
    return max(low, math.nextafter(population.t, 1.0))


def _effective(log_weights: Tensor) -> float:
    """Kish's effective sample size."""
    return float((2 * log_weights.logsumexp(dim=0) - (2 * log_weights).logsumexp(dim=0)).exp())


def _reweight(population: _Population, t: float, rng: torch.Generator, index: int, min_ancestors: int) -> None:
    """To ``t``, and resample."""
    log_weights = (t - population.t) * (-population.energy - population.log_q)
    total = float(log_weights.logsumexp(dim=0))
    if total == -math.inf:
        raise PopulationDied(
            f"all {len(log_weights)} particles of population {index} are forbidden; draw more, or from a distribution "
            "that covers the target"
        )
    rows = systematic(log_weights, rng)
    population.ancestor = population.ancestor[rows]
    left = len(population.ancestor.unique())
    if left < min(min_ancestors, len(rows)):
        raise PopulationDied(
            f"of the {len(rows)} draws of population {index} {left} have descendants at t = {t:.3g}; draw more "
            "particles, or from a distribution nearer to the target"
        )
    population.x, population.energy = population.x[rows], population.energy[rows]
    population.t, population.log_z = t, population.log_z + total - math.log(len(rows))
    population.temperatures.append(t)
    population.ess.append(_effective(log_weights))


def _move(
    population: _Population, kernel: Kernel, energy: Energy, distribution: Distribution, moves: int, rng: torch.Generator
) -> None:
    """``moves`` steps on the law at the population's ``t``."""
    accepted = []
    for _, state, info in iterate(kernel, path_energy(energy, distribution, population.t), population.x, steps=moves, rng=rng):
        accepted.append(float(info.accepted.double().mean()))
    population.x = state.x
    if population.t == 1:
        population.energy = state.energy
    else:
        population.energy, population.log_q = energy_and_log_q(state.terms, population.t)
    population.accepted.append(sum(accepted) / moves)
