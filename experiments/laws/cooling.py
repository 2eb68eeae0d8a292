"""The temperatures of a search, from its first step to its last; energies are nats of a sentence."""

from __future__ import annotations

__all__ = ["COLD", "HOT", "temperatures"]

HOT = 1.0
COLD = 0.1


def temperatures(steps: int) -> list[float]:
    """At each step: they fall in equal ratios."""
    from samplers import geometric

    schedule = geometric(HOT, COLD)
    return [schedule(step, steps) for step in range(steps)]
