"""The result of sequential Monte Carlo over texts: draws of populations of particles, and the integral of the law."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.judging.repetition import repetition
from experiments.results.cost import Spent
from experiments.results.export import Exports
from experiments.results.figures import distinct, energy_in_words, nats, number, of_repetition, repeats, self_bleu
from experiments.results.headings import draws_heading
from experiments.results.trust import about_populations

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import SMCSample

__all__ = ["SMCRun"]


@dataclass(frozen=True)
class SMCRun(Exports):
    """``x [draws, width]``, drawn again by weight from the particles of ``result``, with ``terms [draws, terms]``.

    ``log_mass``: log of what the density of the distribution adds up to, and the standard error of that; 0 for one that
    is normalised. ``doubt``: what speaks against the user's own energies.
    """

    config: Mapping[str, Any]
    target: str
    space: TextSpace
    result: SMCSample
    x: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    log_mass: tuple[float, float]
    spent: Spent
    doubt: str = ""

    @property
    def energy(self) -> Tensor:
        """``float64 [draws]``."""
        return self.terms.sum(dim=1)

    @property
    def log_z(self) -> tuple[float, float]:
        """Log of the integral of ``exp(-energy)``, and its standard error over the populations, in nats."""
        return self.result.log_z_mean + self.log_mass[0], math.hypot(self.result.log_z_mcse, self.log_mass[1])

    def texts(self) -> list[str]:
        return self.space.decode(self.x)

    def samples(self) -> Iterator[dict[str, Any]]:
        rows = zip(self.texts(), self.energy.tolist(), self.terms.tolist(), strict=True)
        for draw, (text, energy, terms) in enumerate(rows):
            named = dict(zip(self.term_names, terms, strict=True))
            yield {"draw": draw, "energy": energy, "terms": named, "text": text}

    def summary(self) -> dict[str, Any]:
        result, (log_z, error) = self.result, self.log_z
        lengths = self.space.lengths(result.x)
        mean, mcse = self.mean_of(result.energy)
        best = int(result.energy.argmin())
        return {
            "target": self.target,
            "draws": len(self.x),
            "populations": len(result.log_z),
            "particles": len(result.x) // len(result.log_z),
            "log_z": log_z,
            "log_z_mcse": error,
            "log_z_by_population": (result.log_z + self.log_mass[0]).tolist(),
            "ancestors": result.ancestors.tolist(),
            "temperatures": [list(each) for each in result.temperatures],
            "ess_by_temperature": [list(each) for each in result.ess],
            "acceptance_by_temperature": [list(each) for each in result.accepted],
            "energy_mean": mean,
            "energy_mcse": mcse,
            "energy_per_token": float(result.expectation(lambda _: result.energy / lengths)),
            "length_mean": float(result.expectation(lambda _: lengths)),
            "best": {"text": self.space.decode(result.x[best : best + 1])[0], "energy": result.energy[best].item()},
            "nan_rejected": result.nan_rejected,
            "uncovered": result.uncovered,
            "distinct": len(set(self.texts())),
            "distinct_particles": len(result.x.unique(dim=0)),
            "self_bleu": self_bleu(self.texts()),
            **self._repetition(),
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            **({"doubt": self.doubt} if self.doubt else {}),
            "trust": f"Not to be trusted: {self.doubt}." if self.doubt else about_populations(result),
        }

    def mean_of(self, values: Tensor) -> tuple[float, float]:
        """Weighted mean of ``values [n]`` over the particles, and its standard error over the populations.

        That of a ratio, from the residuals of the populations; where one of them has nearly all of the weight these
        vanish, so it is no less than how far the means of populations differ, for as many as their weights are worth.
        """
        log_z, weights = self.result.log_z, self.result.log_weights.exp()
        count, mean = len(log_z), float((weights * values).sum())
        if count < 2:
            return mean, math.nan
        residuals = (weights * (values - mean)).reshape(count, -1).sum(dim=1)
        ratio = residuals.square().sum() * count / (count - 1)
        between = values.double().reshape(count, -1).mean(dim=1).var() * log_z.softmax(dim=0).square().sum()
        return mean, math.sqrt(max(float(ratio), float(between)))

    def _repetition(self) -> dict[str, dict[str, float]]:
        """Of all particles: each population is one of the groups that do not depend on each other."""
        count = len(self.result.log_z)
        texts, weights = self.space.decode(self.result.x), self.result.log_weights.exp().tolist()
        size = len(texts) // count
        parts = [slice(first, first + size) for first in range(0, len(texts), size)]
        return of_repetition(repetition([texts[part] for part in parts], [weights[part] for part in parts]))

    def heading(self) -> tuple[str, str]:
        return draws_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from zip(range(len(self.x)), self.energy.tolist(), self.texts(), strict=True)

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "target", self.target
        error = f" +- {number(summary['energy_mcse'], '.2f')}"
        yield "energy", energy_in_words(summary, self.config["temperature"], error)
        yield "log Z", f"{nats(summary['log_z'])} +- {number(summary['log_z_mcse'], '.2f')} nats"
        populations, particles = summary["populations"], summary["particles"]
        each = ", ".join(map(nats, summary["log_z_by_population"]))
        yield "by population", f"{each} ({populations} of {particles:,} particles)"
        fewest = min(summary["ancestors"])
        yield "ancestors", f"{fewest} of {particles:,} draws have descendants, in the worst population"
        first = zip(summary["temperatures"][0], summary["ess_by_temperature"][0], strict=True)
        yield "ESS by temperature", ", ".join(f"{ess:.0f} at {t:.2g}" for t, ess in first)
        yield "lowest energy", f"{nats(summary['best']['energy'])}: {summary['best']['text']}"
        if rejected := summary["nan_rejected"]:
            yield "rejected as NaN", f"{rejected:,} energies"
        yield "distinct texts", distinct(summary, summary["draws"])
        yield from repeats(summary)
        yield "cost", str(self.spent.cost)
        yield from self.spent.notable()
        yield "speed", f"{self.spent.seconds:.1f} s"

    def history(self) -> None:
        """Particles have no steps."""
