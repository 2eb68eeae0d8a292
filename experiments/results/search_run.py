"""The result of simulated annealing over texts: the best text of each chain, ranked. A search, not a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.results.cost import Spent
from experiments.results.export import Exports, refuse_search
from experiments.results.figures import distinct, nats, shares
from experiments.results.headings import ranked, search_heading
from experiments.results.trust import SEARCH_LINE

if TYPE_CHECKING:
    from torch import Tensor
    from xarray import DataTree

    from lm_adapters import TextSpace
    from samplers import Annealed

__all__ = ["SearchRun"]


@dataclass(frozen=True)
class SearchRun(Exports):
    """The best text that each chain visited. ``objective`` says in words what was made small.

    ``constraints``: names of the terms that are 0 or infinite. ``doubt``: what speaks against the user's own energies.
    """

    config: Mapping[str, Any]
    objective: str
    space: TextSpace
    found: Annealed
    spent: Spent
    constraints: tuple[str, ...] = ()
    doubt: str = ""

    def texts(self) -> list[str]:
        """The best of each chain."""
        return self.space.decode(self.found.x)

    def best(self) -> str:
        return self.texts()[int(self.found.energy.argmin())]

    def samples(self) -> Iterator[dict[str, Any]]:
        found = self.found
        rows = zip(self.texts(), found.found_at.tolist(), found.energy.tolist(), found.terms.tolist(), strict=True)
        for chain, (text, step, energy, terms) in enumerate(rows):
            named = dict(zip(found.term_names, terms, strict=True))
            yield {"chain": chain, "step": step, "energy": energy, "terms": named, "text": text}

    def summary(self) -> dict[str, Any]:
        found, chains = self.found, len(self.found.x)
        best = int(found.energy.argmin())
        return {
            "objective": self.objective,
            "chains": chains,
            "best": {"text": self.texts()[best], "energy": found.energy[best].item()},
            "energy_mean": found.energy.mean().item(),
            "energy_per_token": (found.energy / self.space.lengths(found.x)).mean().item(),
            "terms": dict(zip(found.term_names, found.terms[best].tolist(), strict=True)),
            "nan_rejected": found.nan_rejected,
            "distinct": len(set(self.texts())),
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            "chain_steps_per_second": chains * self.config["steps"] / self.spent.seconds,
            **({"doubt": self.doubt} if self.doubt else {}),
            "trust": f"Not to be trusted: {self.doubt}." if self.doubt else SEARCH_LINE,
        }

    def to_arviz(self) -> DataTree:
        """Raises ``InvalidInput``."""
        refuse_search()

    def heading(self) -> tuple[str, str]:
        return search_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from ranked(zip(self.found.energy.tolist(), self.texts(), strict=True))

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "made small", self.objective
        yield "best text", summary["best"]["text"]
        yield "its energy", f"{nats(summary['best']['energy'])} nats"
        yield from shares(summary["terms"], self.constraints)
        yield "mean over chains", f"{nats(summary['energy_mean'])} nats"
        if rejected := self.found.nan_rejected:
            yield "rejected as NaN", f"{rejected:,} energies"
        yield "distinct texts", distinct(summary, summary["chains"])
        yield from self.spent.facts()
        yield "speed", f"{summary['chain_steps_per_second']:,.0f} chain-steps/s, {self.spent.seconds:.1f} s"

    def history(self) -> tuple[Sequence[int], Tensor]:
        return range(self.found.history.shape[1]), self.found.history.cpu()
