"""Sequential Monte Carlo: populations of particles on the path from a distribution to the target."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from samplers.drawing import draw_scored
from samplers.energy.evaluation import evaluate, rejecting_nan
from samplers.energy.nan_policy import NaNCount, NaNPolicy
from samplers.errors import Interrupted, InvalidInput
from samplers.path import check_temperatures, path_energy
from samplers.population import Population
from samplers.randomness import check_seed, generator, repeated
from samplers.run.arguments import check_counts, open_store
from samplers.run.kept_populations import commit_population, load_population
from samplers.run.observers import ObserverGuard, StageObserver
from samplers.run.progress import progress_bar
from samplers.run.signals import Stop, stop_signals
from samplers.storage.fingerprint import pin_fingerprint
from samplers.storage.run_store import RunStore
from samplers.storage.shard_store import ShardStore
from samplers.types import Distribution, Energy, Kernel, PopulationDraw

__all__ = ["SMCSample", "smc", "smc_sample"]


@dataclass(frozen=True)
class SMCSample:
    """Particles ``x [n, ...]`` of the target, their ``energy float64 [n]``, and how far to trust them.

    ``population int64 [n]`` says to which population a particle belongs; within one all weigh the same.
    ``log_z float64 [populations]``: for each an estimate of the log of ``integral exp(-energy)``. ``exp(log_z)`` is
    unbiased where the temperatures were given, and nearly so where they were chosen on the way; how far the
    populations differ says what an estimate is worth. ``temperatures``, ``ess`` and ``accepted``, by population and
    stage: the ``t`` reached, the effective number of particles before resampling, the share of moves accepted after.
    ``ancestors int64 [populations]``: how many draws of the distribution have descendants among the particles.
    ``uncovered``: particles that the distribution cannot draw; 0 unless it misses a part of the target.
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
    uncovered: int = 0
    nan_rejected: int = 0

    @property
    def log_weights(self) -> Tensor:
        """``float64 [n]``, normalised: a population counts in proportion to its estimate of the integral."""
        return self.log_z[self.population].log_softmax(dim=0)

    @property
    def log_z_mean(self) -> float:
        """Log of the mean of ``exp(log_z)`` over the populations, in nats."""
        return float(self.log_z.logsumexp(dim=0)) - math.log(len(self.log_z))

    @property
    def log_z_mcse(self) -> float:
        """Relative standard error of ``exp(log_z_mean)``, in nats where it is small; NaN for one population."""
        shares = (self.log_z - self.log_z_mean).exp()
        return float(shares.std() / math.sqrt(len(shares))) if len(shares) > 1 else math.nan

    def expectation(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """Weighted mean of ``statistic(x) -> [n, ...]``."""
        return torch.einsum("n,n...->...", self.log_weights.exp(), statistic(self.x).to(torch.float64))

    def resample(self, count: int, *, seed: int = 0) -> Tensor:
        """``count`` states drawn by weight with replacement: approximate draws of the target, which may repeat."""
        return self.x[self.resampled(count, seed=seed)]

    def resampled(self, count: int, *, seed: int = 0) -> Tensor:
        """``int64 [count]``: the particles that ``resample`` draws."""
        check_counts(count=count, least=0)
        rng = generator(seed, device=self.log_weights.device, stream="resample")
        return repeated(self.log_weights, count, rng)

    def best(self, count: int) -> Tensor:
        """``count`` particles of the lowest energies, each state once; in turn again where there are fewer states.

        Starts of chains from below the typical energy.
        """
        check_counts(count=count)
        x = self.x[self.energy.argsort(stable=True)]
        _, states = x.unique(dim=0, return_inverse=True)
        first = torch.full((int(states.max()) + 1,), len(x), device=x.device)
        first = first.scatter_reduce(0, states, torch.arange(len(x), device=x.device), "amin").sort().values
        return x[first[torch.arange(count, device=x.device) % len(first)]]


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
    nan: NaNPolicy = "raise",
    run_dir: str | Path | RunStore | None = None,
    shards: Sequence[int] | None = None,
    observers: Sequence[StageObserver] = (),
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
        target; one that is itself drawn by populations has ``draw_population(count, rng) -> PopulationDraw``.
        ``kernel``: any kernel; it is given the energy of each stage.
    Other arguments
        ``temperatures`` rise to 1; by default each is the highest that leaves half of the particles in effect (an
        effective sample size of half of those that the target allows). ``populations`` are independent of each other,
        each of ``num_particles``; ``shards`` names those to run here, in any order and anywhere. ``min_ancestors``:
        fewer draws with descendants are an error. ``nan`` as in ``sample``. ``observers`` are called after each stage
        and cannot break a run.
    Run folder
        with ``run_dir`` each stage of a population is committed, and the same call resumes a run that stopped; see
        ``sample``.
    Warns
        where moves at the target reached states that ``distribution`` cannot draw: it misses a part of the target,
        which ``log_z`` leaves out.
    Raises
        ``InvalidInput``; ``PopulationDied``; ``EnergyError`` as in ``sample``; ``StoreError``; ``Interrupted``.
    """
    check_seed(seed)
    check_counts(moves=moves, populations=populations, min_ancestors=min_ancestors)
    check_counts(num_particles=num_particles, least=2)
    if nan not in ("raise", "reject"):
        raise InvalidInput(f"nan is {nan!r}; choose 'raise' or 'reject'")
    if getattr(kernel, "no_accept_step", False):
        raise InvalidInput(f"{type(kernel).__name__} accepts proposals whatever their energy; give an exact kernel")
    chosen = range(populations) if shards is None else shards
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(populations)):
        raise InvalidInput(f"shards is {list(chosen)}; give some of 0..{populations - 1}, each once")
    given = None if temperatures is None else check_temperatures(temperatures)
    facts = {
        "sampler": "smc",
        "energy": energy,
        "distribution": distribution,
        "kernel": kernel,
        "num_particles": num_particles,
        "moves": moves,
        "temperatures": given,
        "populations": populations,
        "min_ancestors": min_ancestors,
        "seed": seed,
        "nan": nan,
    }
    run = _Run(
        energy,
        distribution,
        kernel,
        num_particles,
        moves,
        given,
        min_ancestors,
        seed,
        nan,
        ObserverGuard(observers, "population"),
    )
    with (
        open_store(run_dir) as store,
        stop_signals(caught=store is not None) as stop,
        progress_bar(len(chosen), shown=progress, unit="population") as bar,
    ):
        if store:
            pin_fingerprint(store, facts)
        finished = []
        for index in chosen:
            finished.append(run.population(index, store.shard(index) if store else None, stop))
            bar.update(1)
    sample = smc_sample(*zip(*finished, strict=True), seed=seed)
    if sample.uncovered:
        warnings.warn(
            f"the distribution cannot draw {sample.uncovered} of {len(sample.x)} particles: it misses a part of the "
            "target, and log_z is that of the rest; give one that covers the target",
            stacklevel=2,
        )
    return sample


def smc_sample(populations: Sequence[Population], nan_rejected: Sequence[int], *, seed: int) -> SMCSample:
    """The sample of ``populations`` that have reached the target, and the NaN rejected by each."""
    x = torch.cat([each.x for each in populations])
    number = torch.arange(len(populations), device=x.device)
    return SMCSample(
        x=x,
        energy=torch.cat([each.energy for each in populations]),
        population=number.repeat_interleave(len(x) // len(populations)),
        log_z=torch.tensor([each.log_z for each in populations], dtype=torch.float64, device=x.device),
        temperatures=tuple(tuple(stage.t for stage in each.stages) for each in populations),
        ess=tuple(tuple(stage.ess for stage in each.stages) for each in populations),
        accepted=tuple(tuple(stage.accepted for stage in each.stages) for each in populations),
        ancestors=torch.tensor([each.ancestors for each in populations]),
        seed=seed,
        uncovered=sum(each.uncovered for each in populations),
        nan_rejected=sum(nan_rejected),
    )


@dataclass(frozen=True)
class _Run:
    """The arguments of ``smc``, of which each population is made."""

    energy: Energy
    distribution: Distribution
    kernel: Kernel
    num_particles: int
    moves: int
    temperatures: list[float] | None
    min_ancestors: int
    seed: int
    nan: NaNPolicy
    observe: ObserverGuard

    def population(self, index: int, files: ShardStore | None, stop: Stop) -> tuple[Population, int]:
        """Population ``index`` at the target, from where ``files`` have it, and the number of NaN rejected."""
        stored = load_population(index, files, self.num_particles) if files else None
        count = stored.nan_count if stored else NaNCount()
        population = stored.population if stored else self._drawn(index, count)
        rng = generator(self.seed, index, population.x.device, stream="smc")
        if stored:
            stored.restore(rng)
        for t in population.temperatures(self.temperatures):
            law = path_energy(self.energy, self.distribution, t)
            if self.nan == "reject":
                law = rejecting_nan(law, count)
            population.advance(t, law, self.kernel, moves=self.moves, min_ancestors=self.min_ancestors, rng=rng)
            if t == 1:
                population.check_covered(self.distribution)
            self.observe(index, t, population.x, population.energy)
            if files:
                commit_population(files, population, rng, count)
                if stopped := stop():
                    raise Interrupted(stopped, files.path.parents[1], len(population.stages))
        return population, count.nan

    def _drawn(self, index: int, count: NaNCount) -> Population:
        """A population of new draws."""
        energy = rejecting_nan(self.energy, count) if self.nan == "reject" else self.energy
        rng = generator(self.seed, index, stream="smc draws")
        draw = getattr(self.distribution, "draw_population", None)
        if draw is None:
            x, log_q, (value, _) = draw_scored(energy, self.distribution, self.num_particles, rng)
            return Population(index, x, value, log_q, torch.arange(len(x), device=x.device))
        with torch.inference_mode():
            drawn: PopulationDraw = draw(self.num_particles, rng)
            log_q = self.distribution.log_prob(drawn.x).double()
            return Population(index, drawn.x, evaluate(energy, drawn.x).energy, log_q, drawn.ancestor, drawn.log_z)
