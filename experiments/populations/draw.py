"""``--sampler smc``: populations of particles from a distribution to the law."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.populations.smc_run import SMCRun
from experiments.runs.run_directory import Work
from experiments.setup.job import Job
from experiments.setup.methods import do_with_folder, doubts, terms_of
from experiments.setup.problem import Problem
from experiments.setup.stored_run import Outline

if TYPE_CHECKING:
    import torch

    from samplers import Distribution, Kernel, SMCSample

__all__ = ["draw_by_smc"]

TRIED = 500  # texts drawn to know what the density of a distribution adds up to


def draw_by_smc(
    problem: Problem,
    distribution: Distribution,
    kernel: Kernel,
    job: Job,
    *,
    particles: int,
    populations: int,
    moves: int,
) -> SMCRun:
    """``chains`` draws of the law, by weight, from ``populations`` of ``particles`` that ``distribution`` begins.

    Raises ``PopulationDied`` with the remedy; else as ``samplers.smc`` does.
    """
    from samplers import PopulationDied, smc

    settings, watch = job.settings, job.watch(problem.space)

    def draw(**where: Any) -> SMCSample:
        try:
            return smc(
                problem.energy,
                distribution,
                kernel,
                num_particles=particles,
                moves=moves,
                populations=populations,
                seed=settings.seed,
                nan=settings.nan,
                observers=[watch.stages(populations)] if watch else [],
                progress=job.progress is True and watch is None,
                **where,
            )
        except PopulationDied as error:
            raise PopulationDied(f"{error} ({argument('particles')} is {particles})") from None

    target = problem.target + (", where no energy is NaN" if settings.nan == "reject" else "")
    result, spent = do_with_folder(
        draw, problem, job, Work(populations, None, "stages"), Outline.of(problem, "smc", target)
    )
    x = result.x[result.resampled(settings.chains, seed=settings.seed)]
    terms, names = terms_of(problem, x)
    doubt = doubts(problem, job, x, terms, spent)
    log_mass = (0.0, 0.0) if job.share else _log_mass(distribution, x.device, job)
    return SMCRun(job.config, target, problem.space, result, x, terms, names, log_mass, spent, doubt)


def _log_mass(distribution: Distribution, device: torch.device, job: Job) -> tuple[float, float]:
    """Log of what the density of the distribution adds up to, and its standard error in nats; 0 for a normalised one.

    Those that draw until a text will do know their density up to a constant only, and have a method ``mass``.
    """
    import torch

    from samplers import generator

    estimate = getattr(distribution, "mass", None)
    if estimate is None:
        return 0.0, 0.0
    rng = generator(job.settings.seed, device=device, stream="mass")
    with torch.inference_mode():
        mass, error = estimate(TRIED, rng)
    return (math.log(mass), error / mass) if mass else (math.nan, math.nan)
