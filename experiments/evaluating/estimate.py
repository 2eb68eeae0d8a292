"""What draws say of a law: means with errors, quantiles, the log of its integral."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from experiments.results.figures import number

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.results.draws_run import DrawsRun
    from experiments.results.protocol import Run

__all__ = ["HEAD", "Estimate", "of_independent", "of_run"]

QUANTILES = (0.1, 0.5, 0.9)
HEAD = (
    f"{'':<10} {'draws':>6} {'nats':>6} {'error':>5} {'z':>5} {'tokens':>6} {'error':>5} {'z':>5} "
    f"{'10 %':>5} {'50 %':>5} {'90 %':>5} {'log Z':>6}"
)


@dataclass(frozen=True)
class Estimate:
    """Of a law over texts: ``energy`` in nats and ``length`` in tokens, means with standard errors.

    ``draws``: how many independent ones these are worth. ``quantiles`` of the energy: 10, 50, 90 %. ``log_z``: log of
    the integral of ``exp(-energy)``, NaN where a sampler does not know it.
    """

    name: str
    draws: float
    energy: float
    energy_error: float
    length: float
    length_error: float
    quantiles: tuple[float, ...]
    log_z: float = math.nan
    log_z_error: float = math.nan

    def apart(self, truth: Estimate) -> tuple[float, float]:
        """Differences of the two means from those of independent draws, in standard errors of the difference."""
        return (
            (self.energy - truth.energy) / math.hypot(self.energy_error, truth.energy_error),
            (self.length - truth.length) / math.hypot(self.length_error, truth.length_error),
        )

    def as_json(self, truth: Estimate) -> dict[str, Any]:
        z_energy, z_length = (math.nan, math.nan) if self is truth else self.apart(truth)
        return {**asdict(self), "z_energy": z_energy, "z_length": z_length}

    def row(self, truth: Estimate) -> str:
        """A line under ``HEAD``."""
        z = ("", "") if self is truth else tuple(number(each, "+.1f") for each in self.apart(truth))
        spread = " ".join(f"{number(each, '.1f'):>5}" for each in self.quantiles)
        return (
            f"{self.name:<10.10} {number(self.draws, ',.0f'):>6} {number(self.energy, '.2f'):>6} "
            f"{number(self.energy_error, '.2f'):>5} {z[0]:>5} {number(self.length, '.2f'):>6} "
            f"{number(self.length_error, '.2f'):>5} {z[1]:>5} {spread} {number(self.log_z, '.2f'):>6}"
        )


def of_independent(name: str, energy: Tensor, length: Tensor, tried: int) -> Estimate:
    """Of independent draws ``energy, length [draws]``, what is left of ``tried``. NaN for fewer than two."""
    draws = len(energy)
    share = draws / tried
    return Estimate(
        name,
        draws,
        *_mean_and_error(energy.double(), draws),
        *_mean_and_error(length.double(), draws),
        _quantiles(energy),
        math.log(share) if draws else -math.inf,
        math.sqrt((1 - share) / draws) if draws else math.nan,
    )


def of_run(name: str, run: Run) -> Estimate:
    """Of Markov chains with errors by ESS; of populations by how they differ; of whole draws by their own ESS.

    Populations are worth as many draws as they have ancestors left, at most; less where few of them have the weight.
    """
    from experiments.populations.smc_run import SMCRun
    from experiments.results.text_run import TextRun
    from samplers import ImportanceSample, diagnose

    figures: Any = run.summary()
    if isinstance(run, TextRun):
        shape = run.trace.energy.shape
        length = run.space.lengths(run.trace.draws.flatten(0, 1)).reshape(shape).double()
        energies, lengths = diagnose(run.trace.energy), diagnose(length)
        own = (energies.mean, energies.mcse, lengths.mean, lengths.mcse)
        return Estimate(name, energies.ess_bulk, *own, _quantiles(run.trace.energy.flatten()))
    if isinstance(run, SMCRun):
        particles = run.result
        quantiles = _weighted_quantiles(particles.energy, particles.log_weights.exp())
        means = (*run.mean_of(particles.energy), *run.mean_of(run.space.lengths(particles.x).double()))
        share = 1 / float(particles.log_z.softmax(dim=0).square().sum()) / len(particles.log_z)
        return Estimate(name, share * int(particles.ancestors.sum()), *means, quantiles, *run.log_z)
    drawn: Any = run
    if isinstance(drawn.result, ImportanceSample):
        return _of_weighted(name, drawn)
    ess = min(figures["ess_bulk"], len(drawn.energy))
    length = drawn.space.lengths(drawn.x).double()
    own = (*_mean_and_error(drawn.energy, ess), *_mean_and_error(length, ess))
    return Estimate(name, ess, *own, _quantiles(drawn.energy))


def _of_weighted(name: str, run: DrawsRun) -> Estimate:
    """Of all weighted draws, by weight, with the standard errors of ratios (Owen 2013, section 9.2)."""
    sample: Any = run.result
    weights, log_z = sample.log_weights.exp(), (math.nan, math.nan)
    possible = weights > 0
    weights, energy = weights[possible], sample.energy[possible]
    means: list[float] = []
    for values in (energy, run.space.lengths(sample.x[possible]).double()):
        mean = float((weights * values).sum())
        means += [mean, math.sqrt(float((weights * (values - mean)).square().sum()))]
    if run.normalised:
        log_z = (sample.log_z, sample.log_z_mcse)
    quantiles = _weighted_quantiles(energy, weights)
    return Estimate(name, sample.ess, means[0], means[1], means[2], means[3], quantiles, *log_z)


def _mean_and_error(values: Tensor, draws: float) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    return values.mean().item(), values.std().item() / math.sqrt(draws)


def _weighted_quantiles(values: Tensor, weights: Tensor) -> tuple[float, ...]:
    """The smallest values that hold such a share of the weight, which sums to 1."""
    order = values.argsort()
    reached = weights[order].cumsum(dim=0)
    return tuple(float(values[order][(reached < share).sum().clamp(max=len(order) - 1)]) for share in QUANTILES)


def _quantiles(values: Tensor) -> tuple[float, ...]:
    import torch

    if not len(values):
        return (math.nan,) * len(QUANTILES)
    return tuple(torch.quantile(values.double(), torch.tensor(QUANTILES, dtype=torch.float64)).tolist())
