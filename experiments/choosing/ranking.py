"""The law of a list of phrases, every one of them scored."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.choosing.pinned import pin_exact
from experiments.results.cost import Spent, counted, totals_of
from experiments.results.export import Exports
from experiments.results.figures import nats
from experiments.setup.job import Job
from experiments.setup.own_energies import own_terms
from experiments.setup.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import Phrases, TextSpace

__all__ = ["RankedRun", "rank_all"]

TOGETHER = 2048  # phrases that are scored, or decoded, in one call


@dataclass(frozen=True)
class RankedRun(Exports):
    """``x int64 [phrases, width]``, the likeliest first, with the ``terms float64 [phrases, terms]`` of the energy."""

    config: Mapping[str, Any]
    target: str
    space: TextSpace
    x: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    spent: Spent

    @cached_property
    def energy(self) -> Tensor:
        """``float64 [phrases]``."""
        return self.terms.sum(dim=1)

    @cached_property
    def log_prob(self) -> Tensor:
        """``float64 [phrases]`` in nats."""
        return (-self.energy).log_softmax(dim=0)

    def texts(self) -> Iterator[str]:
        """Each phrase, decoded as it is reached."""
        for part in self.x.split(TOGETHER):
            yield from self.space.decode(part)

    def samples(self) -> Iterator[dict[str, Any]]:
        rows = zip(self.texts(), self.log_prob.exp().tolist(), self.energy.tolist(), self.terms.tolist(), strict=True)
        for rank, (text, share, energy, terms) in enumerate(rows, 1):
            named = dict(zip(self.term_names, terms, strict=True))
            yield {"rank": rank, "probability": share, "energy": energy, "terms": named, "text": text}

    def summary(self) -> dict[str, Any]:
        share = self.log_prob.exp()
        entropy = -float((share * self.log_prob).where(share > 0, 0.0).sum())
        return {
            "target": self.target,
            "phrases": len(self.x),
            "best": {"text": next(self.texts()), "energy": self.energy[0].item(), "probability": share[0].item()},
            "log_z": float((-self.energy).logsumexp(dim=0)),
            "entropy": entropy,
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            "trust": "The law itself: every phrase was scored. The phrases themselves were not judged.",
        }

    def to_arviz(self) -> NoReturn:
        """Raises ``InvalidInput``."""
        from samplers import InvalidInput

        raise InvalidInput("every phrase was scored and none was drawn; read the run with to_pandas")

    def heading(self) -> tuple[str, str]:
        return "rank", "probability and phrase"

    def shown(self) -> Iterator[tuple[int, float, str]]:
        most = min(self.config["chains"], len(self.x))
        shares = self.log_prob[:most].exp().tolist()
        rows = zip(self.energy[:most].tolist(), shares, self.space.decode(self.x[:most]), strict=True)
        for rank, (energy, share, text) in enumerate(rows, 1):
            yield rank, energy, f"{share:6.2%}  {text}"

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "target", self.target
        yield "phrases", f"{len(self.x):,}, as uncertain as {math.exp(summary['entropy']):,.1f} equally likely ones"
        yield "log Z", f"{nats(summary['log_z'])} nats"
        yield from self.spent.facts()
        yield "speed", f"{len(self.x) / self.spent.seconds:,.0f} phrases/s, {self.spent.seconds:.1f} s"

    def history(self) -> None:
        """Nothing was drawn."""


def rank_all(problem: Problem, phrases: Phrases, job: Job) -> RankedRun:
    """Score every phrase, in the order of their lengths. Raises ``InvalidInput`` where all are forbidden."""
    import torch

    from samplers import InvalidInput, evaluate, measure_terms, term_names
    from samplers.run import forbidding_terms

    began, models = time.monotonic(), (each.model for each in problem.models.values())
    parts: list[Tensor] = []
    states: list[Tensor] = []
    with counted(models) as cost, measure_terms() as terms, problem.space.texts_in_errors(), torch.inference_mode():
        pin_exact(problem, job)
        for x in phrases.states(TOGETHER):
            states.append(x)
            parts.append(evaluate(problem.energy, x.to(problem.x0.device)).terms.cpu())
        spent = Spent.of(
            totals_of(time.monotonic() - began, cost, terms),
            tuple(term.name for _, _, term in own_terms(problem.energy)),
            job.starts.totals,
        )
    of_phrases = torch.cat(parts)
    energy = of_phrases.sum(dim=1)
    if not bool((energy < math.inf).any()):
        raise InvalidInput(
            f"every phrase is forbidden by {' and '.join(forbidding_terms(problem.energy, of_phrases))}; give a weaker "
            "condition, or finite numbers in place of inf"
        )
    order = energy.argsort(stable=True)
    return RankedRun(
        job.config,
        problem.target,
        problem.space,
        torch.cat(states)[order],
        of_phrases[order],
        term_names(problem.energy),
        spent,
    )
