"""The temperature of a law."""

from __future__ import annotations

from typing import Any

from samplers import Energy, EnergyTerm, WeightedSum, named, term_names

__all__ = ["AtTemperature"]


class AtTemperature(WeightedSum):
    """``energy / temperature``, so that a sampler of ``exp(-energy)`` draws from ``exp(-energy / temperature)``.

    Its terms are those of ``energy``, in nats, each divided by the temperature; a constraint forbids what it forbids.
    ``whole`` is ``energy`` itself.
    """

    def __init__(self, energy: Energy, temperature: float) -> None:
        term = energy if isinstance(energy, EnergyTerm) else named(term_names(energy)[0], energy)
        self.whole, self.temperature = term, temperature
        parts = term.parts if isinstance(term, WeightedSum) else [(1.0, term)]
        super().__init__([(weight if part.is_constraint else weight / temperature, part) for weight, part in parts])

    def config(self) -> dict[str, Any]:
        return {"parts": self.parts}
