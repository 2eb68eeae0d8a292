"""The draws so far of a run that has not reached its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.results.cost import Spent
from experiments.results.export import Exports
from experiments.results.figures import distinct, number, self_bleu
from experiments.results.headings import draws_heading
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DrawsSoFar", "StoppedRun"]


@dataclass(frozen=True)
class StoppedRun(Exports):
    """Some chains may be further than others: ``parts`` have all draws, each with the number of its first chain.

    ``common`` has as many draws of each chain as all of them have that have any: figures are of these. ``progress``
    says how far the run came.
    """

    config: Mapping[str, Any]
    common: Run
    parts: Sequence[tuple[int, Run]]
    progress: str

    @property
    def spent(self) -> Spent:
        return self.common.spent

    def samples(self) -> Iterator[dict[str, Any]]:
        for first, part in self.parts:
            for sample in part.samples():
                yield {**sample, "chain": sample["chain"] + first} if "chain" in sample else sample

    def summary(self) -> dict[str, Any]:
        figures = self.common.summary()
        trust = f"Incomplete ({self.progress}). {figures['trust']}"
        return {**figures, "complete": False, "progress": self.progress, "trust": trust}

    def heading(self) -> tuple[str, str]:
        return self.common.heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        if isinstance(self.common, SearchRun):  # of all chains, ranked
            yield from self.common.shown()
            return
        for first, part in self.parts:
            yield from ((number + first, energy, text) for number, energy, text in part.shown())

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "incomplete", self.progress
        yield from self.common.facts(summary)

    def history(self) -> tuple[Sequence[int], Tensor] | tuple[Sequence[int], Tensor, Tensor | None] | None:
        return self.common.history()


@dataclass(frozen=True)
class DrawsSoFar(Exports):
    """``texts`` of a run of independent draws, with their energies in nats; ``note`` says what they follow."""

    config: Mapping[str, Any]
    target: str
    texts: Sequence[str]
    energies: Sequence[float]
    note: str
    spent: Spent

    def samples(self) -> Iterator[dict[str, Any]]:
        for draw, (text, energy) in enumerate(zip(self.texts, self.energies, strict=True)):
            yield {"draw": draw, "energy": energy, "terms": {}, "text": text}

    def summary(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "draws": len(self.texts),
            "energy_mean": sum(self.energies) / len(self.energies),
            "distinct": len(set(self.texts)),
            "self_bleu": self_bleu(self.texts),
            "cost": vars(self.spent.cost),
            "seconds": self.spent.seconds,
            "trust": self.note,
        }

    def heading(self) -> tuple[str, str]:
        return draws_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from zip(range(len(self.texts)), self.energies, self.texts, strict=True)

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield "target", self.target
        yield "energy", f"{number(summary['energy_mean'], '.2f')} nats a text"
        yield "distinct texts", distinct(summary, summary["draws"])
        yield "cost", str(self.spent.cost)

    def history(self) -> None:
        """Independent draws have no steps."""
