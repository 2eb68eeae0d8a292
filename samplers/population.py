"""A population of particles, and the stages that lead it from a distribution to the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.errors import PopulationDied
from samplers.path import Surprisal, energy_and_log_q
from samplers.randomness import systematic
from samplers.run.chains import iterate
from samplers.types import Distribution, Energy, Kernel

__all__ = ["Population", "Stage"]

HALVINGS = 60  # of the interval in which the next temperature is searched
MOST_STAGES = 1000  # a path that needs more begins nowhere near its end


class Stage(NamedTuple):
    """The temperature ``t`` reached, the effective number of particles before resampling, the share accepted after."""

    t: float
    ess: float
    accepted: float


@dataclass
class Population:
    """Particles ``x [n, ...]`` at the temperature ``t`` of the path, population number ``index`` of a run.

    ``energy`` and ``log_q`` are ``float64 [n]``, of the target and of the distribution; ``ancestor int64 [n]`` is the
    draw that a particle descends from. ``log_z``: the estimate so far, in nats. ``uncovered``: particles at the end
    that the distribution cannot draw.
    """

    index: int
    x: Tensor
    energy: Tensor
    log_q: Tensor
    ancestor: Tensor
    log_z: float = 0.0
    uncovered: int = 0
    stages: list[Stage] = field(default_factory=list)

    @property
    def t(self) -> float:
        return self.stages[-1].t if self.stages else 0.0

    @property
    def ancestors(self) -> int:
        """The number of draws that have descendants."""
        return len(self.ancestor.unique())

    def temperatures(self, given: list[float] | None) -> Iterator[float]:
        """Those ``given`` that are left, or each the highest that leaves half of the particles in effect."""
        if given is not None:
            yield from given[len(self.stages) :]
            return
        while self.t < 1:
            if len(self.stages) == MOST_STAGES:
                raise PopulationDied(
                    f"after {MOST_STAGES} stages population {self.index} is at t = {self.t:.3g} of 1; give a "
                    "distribution nearer to the target"
                )
            yield self._next_temperature()

    def _next_temperature(self) -> float:
        gain = -self.energy - self.log_q
        wanted = int((gain != -math.inf).sum()) / 2
        low, high = self.t, 1.0
        if _effective((high - self.t) * gain) >= wanted:
            return high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _effective((middle - self.t) * gain) >= wanted else (low, middle)
        return max(low, math.nextafter(self.t, 1.0))

    def advance(
        self, t: float, law: Energy, kernel: Kernel, *, moves: int, min_ancestors: int, rng: torch.Generator
    ) -> None:
        """To ``t``: weights, resampling, and ``moves`` steps of ``kernel`` on ``law``, the ``path_energy`` at ``t``.

        Raises ``PopulationDied`` where fewer than ``min_ancestors`` draws have descendants.
        """
        ess = self._resample(t, min_ancestors, rng)
        steps = list(iterate(kernel, law, self.x, steps=moves, rng=rng, first_row=self.index * len(self.x)))
        state, accepted = steps[-1][1], [float(info.accepted.double().mean()) for _, _, info in steps]
        self.x = state.x
        if t == 1:
            self.energy = state.energy
        else:
            self.energy, self.log_q = energy_and_log_q(state.terms, t)
        self.stages.append(Stage(t, ess, sum(accepted) / moves))

    def check_covered(self, distribution: Distribution) -> None:
        """Count the particles at the target that the distribution cannot draw."""
        with torch.inference_mode():
            self.log_q = -evaluate(Surprisal(distribution), self.x).energy
        self.uncovered = int(self.log_q.isneginf().sum())

    def _resample(self, t: float, min_ancestors: int, rng: torch.Generator) -> float:
        """By the weights from the present temperature to ``t``; the effective number of particles before."""
        log_weights = (t - self.t) * (-self.energy - self.log_q)
        total = float(log_weights.logsumexp(dim=0))
        if total == -math.inf:
            raise PopulationDied(
                f"all {len(log_weights)} particles of population {self.index} are forbidden; draw more, or from a "
                "distribution that covers the target"
            )
        rows = systematic(log_weights, rng)
        self.ancestor = self.ancestor[rows]
        if self.ancestors < min(min_ancestors, len(rows)):
            raise PopulationDied(
                f"of the {len(rows)} draws of population {self.index} only {self.ancestors} have descendants at "
                f"t = {t:.3g}, where {min_ancestors} are wanted: an estimate would be worth nothing; draw more "
                "particles, or from a distribution nearer to the target"
            )
        self.x, self.energy, self.log_q = self.x[rows], self.energy[rows], self.log_q[rows]
        self.log_z += total - math.log(len(rows))
        return _effective(log_weights)

    def tensors(self) -> dict[str, Tensor]:
        """What a commit holds of it."""
        return {
            "x": self.x,
            "energy": self.energy,
            "log_q": self.log_q,
            "ancestor": self.ancestor,
            "log_z": torch.tensor(self.log_z, dtype=torch.float64),
            "uncovered": torch.tensor(self.uncovered),
            "stages": torch.tensor(self.stages, dtype=torch.float64).reshape(-1, len(Stage._fields)),
        }

    @classmethod
    def of(cls, index: int, tensors: Mapping[str, Tensor], device: torch.device) -> Population | None:
        """The population after a stage whose ``tensors`` these are, on ``device``; ``None`` for values that none has.

        Types and shapes are those of ``tensors``.
        """
        x, energy, log_q, ancestor = (tensors[name] for name in ("x", "energy", "log_q", "ancestor"))
        stages = [Stage(*row) for row in tensors["stages"].tolist()]
        log_z, uncovered = float(tensors["log_z"]), int(tensors["uncovered"])
        sound = (
            all(a < b for a, b in pairwise([0.0, *(stage.t for stage in stages)]))
            and stages[-1].t <= 1
            and all(0 <= stage.accepted <= 1 and 0 < stage.ess < math.inf for stage in stages)
            and not bool(x.isnan().any())
            and bool(energy.isfinite().all())
            and not bool((log_q.isnan() | log_q.isposinf()).any())
            and bool(((ancestor >= 0) & (ancestor < len(x))).all())
            and math.isfinite(log_z)
            and 0 <= uncovered <= len(x)
        )
        if not sound:
            return None
        x, energy, log_q, ancestor = (tensor.to(device) for tensor in (x, energy, log_q, ancestor))
        return cls(index, x, energy, log_q, ancestor, log_z, uncovered, stages)


def _effective(log_weights: Tensor) -> float:
    """Kish's effective sample size."""
    return float((2 * log_weights.logsumexp(dim=0) - (2 * log_weights).logsumexp(dim=0)).exp())
