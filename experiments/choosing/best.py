"""The likeliest phrases of a list, found without scoring every one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.choosing.pinned import pin_exact
from experiments.declaration.wording import argument
from experiments.results.cost import Spent, counted, totals_of
from experiments.results.export import Exports, refuse_search
from experiments.results.figures import nats
from experiments.results.trust import NOT_JUDGED
from experiments.setup.job import Job
from experiments.setup.problem import Problem

if TYPE_CHECKING:
    from lm_adapters import Autoregressive, BestPhrases, Phrases, TextSpace

__all__ = ["BestRun", "rank_best"]


@dataclass(frozen=True)
class BestRun(Exports):
    """What ``best_phrases`` has found among ``phrases`` of them; ``wanted``: how many were asked for."""

    config: Mapping[str, Any]
    target: str
    space: TextSpace
    best: BestPhrases
    phrases: int
    wanted: int
    spent: Spent

    def texts(self) -> list[str]:
        return self.space.decode(self.best.x)

    def samples(self) -> Iterator[dict[str, Any]]:
        low, high = self.best.log_z
        for rank, (text, energy) in enumerate(zip(self.texts(), self.best.nlls.tolist(), strict=True), 1):
            bounds = [math.exp(-energy - high), math.exp(-energy - low)]
            proved = rank <= self.best.proved
            yield {"rank": rank, "proved": proved, "probability_within": bounds, "energy": energy, "text": text}

    def summary(self) -> dict[str, Any]:
        first = next(self.samples(), None)
        return {
            "target": self.target,
            "phrases": self.phrases,
            "best": first and {name: first[name] for name in ("text", "energy", "probability_within")},
            "proved": self.best.proved,
            "others_above": self.best.others_above if math.isfinite(self.best.others_above) else None,
            "log_z_within": [low if math.isfinite(low) else None for low in self.best.log_z],
            "reads": self.best.reads,
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            "trust": f"{self._proof()} {NOT_JUDGED}",
        }

    def _proof(self) -> str:
        found, proved = len(self.best.x), self.best.proved
        if proved == self.wanted or proved == self.phrases:
            return f"The {proved:,} likeliest of the list, proved: no other has less nats."
        first = f"Only the first {proved:,} are proved" if proved else "None is proved"
        return (
            f"{first} to be the likeliest of the list: another may have {nats(self.best.others_above)} nats or more, "
            f"and {found - proved:,} of those shown have no less; raise {argument('steps')}."
        )

    def to_arviz(self) -> NoReturn:
        """Raises ``InvalidInput``."""
        refuse_search()

    def heading(self) -> tuple[str, str]:
        return "rank", "probability, at least and at most, and phrase"

    def shown(self) -> Iterator[tuple[int, float, str]]:
        for sample in self.samples():
            low, high = sample["probability_within"]
            yield sample["rank"], sample["energy"], f"{low:6.2%} {high:6.2%}  {sample['text']}"

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        low, high = self.best.log_z
        yield "target", self.target
        yield "phrases", f"{self.phrases:,}, of which {self.best.reads:,} beginnings were read"
        yield "log Z", f"between {nats(low)} and {nats(high)} nats"
        yield from self.spent.facts()
        yield "speed", f"{self.spent.seconds:.1f} s"

    def history(self) -> None:
        """Nothing was drawn."""


def rank_best(problem: Problem, reader: Autoregressive, phrases: Phrases, job: Job) -> BestRun:
    """The ``chains`` likeliest phrases, from at most ``chains * steps`` beginnings.

    Raises ``InvalidInput`` where energies of the user's own are part of the law: what a beginning costs says nothing of
    them.
    """
    from lm_adapters import best_phrases
    from samplers import InvalidInput, measure_terms, term_names

    if others := list(term_names(problem.energy))[2:]:
        raise InvalidInput(
            f"{argument('sampler')} best follows the scorer alone, and {' and '.join(others)} is part of the law; "
            "leave it out, or take exact or anneal"
        )
    settings, began = job.settings, time.monotonic()
    models = (each.model for each in problem.models.values())
    pin_exact(problem, job)
    with counted(models) as cost, measure_terms() as terms:
        best = best_phrases(reader, phrases, settings.chains, max_reads=settings.chains * settings.steps)
    spent = Spent.of(totals_of(time.monotonic() - began, cost, terms), (), job.starts.totals)
    return BestRun(job.config, problem.target, problem.space, best, len(phrases), settings.chains, spent)
