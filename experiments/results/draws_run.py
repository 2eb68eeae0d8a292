"""The result of rejection or importance sampling of texts: draws that owe nothing to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.judging.repetition import repetition
from experiments.results.cost import Spent
from experiments.results.export import Exports
from experiments.results.figures import (
    distinct,
    efficiency_in_words,
    energy_in_words,
    nats,
    number,
    of_repetition,
    repeats,
    self_bleu,
)
from experiments.results.headings import draws_heading
from experiments.results.trust import about_rejection, about_weights

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import ImportanceSample, RejectionSample

__all__ = ["DrawsRun"]


@dataclass(frozen=True)
class DrawsRun(Exports):
    """``x [draws, width]`` with ``terms float64 [draws, terms]`` of their energies in nats.

    Of importance sampling they are drawn again by weight. ``wanted`` draws were asked for; rejection sampling may have
    run out of trials. ``doubt``: what speaks against the user's own energies. ``normalised``: the density of what they
    were drawn from adds up to 1, so that the mean weight estimates the integral of the law.
    """

    config: Mapping[str, Any]
    target: str
    space: TextSpace
    result: RejectionSample | ImportanceSample
    x: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    wanted: int
    spent: Spent
    doubt: str = ""
    normalised: bool = False

    @property
    def energy(self) -> Tensor:
        """``float64 [draws]``."""
        return self.terms.sum(dim=1)

    def texts(self) -> list[str]:
        return self.space.decode(self.x) if len(self.x) else []

    def samples(self) -> Iterator[dict[str, Any]]:
        rows = zip(self.texts(), self.energy.tolist(), self.terms.tolist(), strict=True)
        for draw, (text, energy, terms) in enumerate(rows):
            yield {
                "draw": draw,
                "energy": energy,
                "terms": dict(zip(self.term_names, terms, strict=True)),
                "text": text,
            }

    def summary(self) -> dict[str, Any]:
        texts = self.texts()
        return {
            "target": self.target,
            "draws": len(texts),
            "energy_mean": self.energy.mean().item(),
            "energy_per_token": (self.energy / self.space.lengths(self.x)).mean().item(),
            "ess_bulk": self._ess,
            **self.spent.efficiency(self._ess),
            "distinct": len(set(texts)),
            "self_bleu": self_bleu(texts),
            **self._repetition(texts),
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            **({"doubt": self.doubt} if self.doubt else {}),
            "trust": f"Not to be trusted: {self.doubt}." if self.doubt else self._trust(),
            **self._own(),
        }

    def heading(self) -> tuple[str, str]:
        return draws_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from zip(range(len(self.x)), self.energy.tolist(), self.texts(), strict=True)

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "target", self.target
        yield "energy", energy_in_words(summary, self.config["temperature"])
        own = self._own()
        if "log_z" in own:
            yield "log Z", f"{nats(own.pop('log_z'))} +- {number(own.pop('log_z_mcse'), '.2f')} nats"
        for name, value in own.items():
            yield name.replace("_", " "), f"{value:,}" if isinstance(value, int) else number(value, ".4g")
        yield "ESS", number(summary["ess_bulk"], ".1f")
        yield "ESS by cost", efficiency_in_words(summary)
        yield "distinct texts", distinct(summary, summary["draws"])
        yield from repeats(summary)
        yield from self.spent.facts()
        yield "speed", f"{self.spent.seconds:.1f} s"

    def history(self) -> None:
        """Independent draws have no steps."""

    @property
    def _ess(self) -> float:
        from samplers import ImportanceSample

        return self.result.ess if isinstance(self.result, ImportanceSample) else float(len(self.x))

    def _repetition(self, texts: list[str]) -> dict[str, dict[str, float]]:
        """Each text is one of the groups that do not depend on each other; copies of a weighted one are one text."""
        from samplers import ImportanceSample

        weights: list[list[float]] | None = None
        if isinstance(self.result, ImportanceSample):
            counts = Counter(texts)
            texts, weights = list(counts), [[count] for count in counts.values()]
        return of_repetition(repetition([[text] for text in texts], weights))

    def _own(self) -> dict[str, Any]:
        from samplers import ImportanceSample

        if isinstance(self.result, ImportanceSample):
            log_z = {"log_z": self.result.log_z, "log_z_mcse": self.result.log_z_mcse} if self.normalised else {}
            return {"weighted_draws": len(self.result.x), "pareto_k": self.result.pareto_k, **log_z}
        return {"trials": self.result.trials, "acceptance": self.result.acceptance}

    def _trust(self) -> str:
        from samplers import ImportanceSample

        if isinstance(self.result, ImportanceSample):
            return about_weights(self.result)
        return about_rejection(self.result, self.wanted)
