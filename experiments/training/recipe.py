"""How long a model learns, at which rates, on batches of which size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Phase", "Recipe"]


@dataclass(frozen=True)
class Phase:
    """Steps with AdamW's rate going straight from ``rate`` to ``final_rate``, on batches of about ``batch_tokens``."""

    steps: int
    rate: float
    final_rate: float
    batch_tokens: int

    def rate_at(self, step: int) -> float:
        return self.rate + (self.final_rate - self.rate) * step / self.steps


@dataclass(frozen=True)
class Recipe:
    """Phases one after the other; the first ``warmup`` steps of the run rise from nothing."""

    phases: tuple[Phase, ...]
    warmup: int = 300
    evaluate_every: int = 400
    seed: int = 1
    threads: int = 2

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def tokens(self) -> int:
        return sum(phase.steps * phase.batch_tokens for phase in self.phases)
