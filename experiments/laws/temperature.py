"""The temperature of a law."""

from __future__ import annotations

from typing import Any

from samplers import EnergyTerm, WeightedSum

__all__ = ["AtTemperature"]


class AtTemperature(WeightedSum):
    """``energy / temperature``, so that a sampler of ``exp(-energy)`` draws from ``exp(-energy / temperature)``.

    Its terms are those of ``energy``, in nats, each divided by the temperature; a constraint forbids what it forbids.
    ``whole`` is ``energy`` itself.
    """

    def __init__(self, energy: EnergyTerm, temperature: float) -> None:
        self.whole, self.temperature = energy, temperature
        parts = energy.parts if isinstance(energy, WeightedSum) else [(1.0, energy)]
        super().__init__([(weight if part.is_constraint else weight / temperature, part) for weight, part in parts])

    def config(self) -> dict[str, Any]:
        return {"parts": self.parts}
