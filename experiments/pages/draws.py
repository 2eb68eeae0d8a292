"""The kept draws of a run, gathered once from its samples for all that a page shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Chain", "Draws", "Text"]


@dataclass
class Chain:
    """Steps, energies in nats and texts of the kept draws of one chain; ``start`` is below, above or empty."""

    number: int
    start: str
    steps: list[int] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass
class Text:
    """A text, how many draws it is, its lowest energy and the terms of that, in nats; of a law its probability."""

    text: str
    count: int
    energy: float
    terms: Mapping[str, float]
    probability: float = 0.0


@dataclass
class Draws:
    """``chains`` by number, empty of independent draws; every text once, the most frequent and the likeliest first.

    ``is_law``: nothing was drawn, and every text has its probability.
    """

    chains: list[Chain]
    texts: list[Text]
    is_law: bool = False

    @property
    def term_names(self) -> list[str]:
        """Terms that are not 0 in every text, where there are several."""
        names = dict.fromkeys(name for text in self.texts for name in text.terms)
        told = [name for name in names if any(text.terms.get(name, 0.0) != 0 for text in self.texts)]
        return told if len(told) > 1 else []

    @property
    def count(self) -> int:
        return sum(text.count for text in self.texts)

    @classmethod
    def of(cls, samples: Iterable[Mapping[str, Any]]) -> Draws:
        """From ``Run.samples()``, or lines of ``samples.jsonl``."""
        chains: dict[int, Chain] = {}
        is_law = False
        texts: dict[str, Text] = {}
        for sample in samples:
            text, energy = str(sample["text"]), float(sample.get("energy", float("nan")))
            known = texts.get(text)
            if known is None:
                texts[text] = Text(text, 1, energy, sample.get("terms", {}))
            else:
                known.count += 1
                if energy < known.energy:
                    known.energy, known.terms = energy, sample["terms"]
            if "probability" in sample:
                is_law = True
                texts[text].probability += float(sample["probability"])
            if "chain" in sample and "step" in sample:
                number = sample["chain"]
                chain = chains.setdefault(number, Chain(number, sample.get("start", "")))
                chain.steps.append(sample["step"])
                chain.energies.append(energy)
                chain.texts.append(text)
        found = sorted(texts.values(), key=lambda text: (-text.count, text.energy))
        return cls([chains[number] for number in sorted(chains)], found, is_law)
