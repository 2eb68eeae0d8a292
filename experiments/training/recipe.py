"""How long a model learns, at which rates, on batches of which size, and with how much regularisation."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A constant rate for as long as it helps, then a straight fall to zero (Hu et al. 2024, arXiv:2404.06395).

    Nobody has to know beforehand how long training will last: a run at the constant rate can go on at any time, and can
    be ended at any time by choosing ``steady``. Most of the final gain comes with the fall.
    """

    rate: float
    steady: int  # steps before the rate falls; the first ``warmup`` of them rise from nothing
    decay: int  # steps in which it falls to zero
    batch_tokens: int
    warmup: int = 100
    window: int = 300  # the weights that are judged and exported are an average over about so many steps
    dropout: float = 0.0
    weight_decay: float = 0.05
    evaluate_every: int = 100
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    compiled: bool = True  # on a CPU: half as much again in speed, for a minute at the start

    @property
    def steps(self) -> int:
        return self.steady + self.decay

    @property
    def tokens(self) -> int:
        return self.steps * self.batch_tokens

    def rate_at(self, step: int) -> float:
        risen = min(1.0, (step + 1) / self.warmup)
        return self.rate * risen * min(1.0, (self.steps - step) / max(1, self.decay))

    def window_at(self, step: int) -> float:
        """Steps to average over: fewer while the weights move far (warm-up), or hardly any more (end of the fall)."""
        return min(step + 1, max(1.0, self.window * self.rate_at(step) / self.rate))
