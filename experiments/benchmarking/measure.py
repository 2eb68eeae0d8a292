"""One workload at one size: its steps, their floor and the loop by hand, timed in turn in one process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from experiments.benchmarking.memory import peak_memory
from experiments.benchmarking.models import Models
from experiments.benchmarking.recording import Recording, recorded
from experiments.benchmarking.task import Size, Task
from experiments.benchmarking.timing import Clock, Splits, make_clock, timed
from experiments.benchmarking.workloads import WORKLOADS
from experiments.results.cost import Cost, counted
from samplers import ChainState, diagnose, sample
from samplers.randomness import generator
from samplers.run import start_chains

__all__ = ["Line", "Round", "measure"]

TURN = 0.2  # seconds of steps, or of the loop by hand, that are timed together
FEWEST, MOST = 4, 32  # of these steps, as one may cost more than the next
SLOW, FEW = 1.0, 3  # no more seconds than that for the fewest; steps that are slower are repeated so often
KEPT = 64  # draws a chain that an energy watched from outside scores


@dataclass(frozen=True)
class Round:
    """Seconds of a step, of its floor, and of the models inside it."""

    step: float
    floor: float
    inside: float


@dataclass(frozen=True)
class Line:
    """Times are medians over rounds, costs means: of a step of all chains. By hand both are means, of one chain, or of
    all where the loop itself moves many: many of its steps may cost nothing.

    ``ratio`` is the floor's time by the step's: 1 is a sampler that costs no more than it needs. ``in_models``
    is the share of a step in which its models are at work: what lacks to 1 is overhead, what it has beyond ``ratio``
    are passes that could be avoided or cut better.
    """

    workload: str
    models: str
    vocabulary: int
    size: Size
    step: float
    floor: float
    ratio: float
    in_models: float
    by_hand: float
    cost: Mapping[str, float]
    floor_cost: Mapping[str, float]
    by_hand_cost: Mapping[str, float]
    splits: Mapping[str, str]
    peak: int | None
    ess_per_second: float | None
    ess_per_million_tokens: float | None

    @property
    def chain_steps_per_second(self) -> float:
        return self.size.chains / self.step

    @property
    def floor_per_second(self) -> float:
        return self.size.chains / self.floor if self.floor else math.inf  # no model was needed

    @property
    def speed_up(self) -> float:
        """Chain-steps of the kernel for each step by hand in the same time."""
        return self.chain_steps_per_second * self.by_hand


def measure(workload: str, models: Models, size: Size, *, repeats: int = 7, ess_steps: int = 0) -> Line:
    """Time a workload. Raises ``Absent`` where it needs a model that is not there.

    A round is some consecutive steps of the chains, then the bare passes of these same steps' floor, then the loop by
    hand; the first warms up. With ``ess_steps`` the chains are run anew for the ESS of their energy.
    """
    task = WORKLOADS[workload](models, size)
    ess, ess_of_tokens = _ess(task, ess_steps) if ess_steps and task.sampled else (None, None)
    device = task.x0.device
    bench = _Bench(task, make_clock(device))
    with torch.inference_mode():
        first = bench.round(1)
        many = _steps(first.step)
        bench.restart()
        rounds = [bench.round(many) for _ in range(repeats if first.step < SLOW else min(FEW, repeats))]
        peak = peak_memory(bench.one_step, device)
    return Line(
        workload=workload,
        models=models.name,
        vocabulary=int(task.models[0].get_input_embeddings().weight.shape[0]),  # type: ignore[index]
        size=size,
        step=statistics.median(r.step for r in rounds),
        floor=statistics.median(r.floor for r in rounds),
        ratio=statistics.median(r.floor / r.step for r in rounds),
        in_models=statistics.median(r.inside / r.step for r in rounds),
        by_hand=bench.by_hand / task.by_hand_chains,
        cost=_mean(bench.costs),
        floor_cost=_mean(bench.floor_costs),
        by_hand_cost=_mean(bench.by_hand_costs),
        splits={name: str(choice) for name, choice in bench.splits.chosen.items()},
        peak=peak,
        ess_per_second=ess,
        ess_per_million_tokens=ess_of_tokens,
    )


class _Bench:
    """The chains of a task, and what their steps cost since the last ``restart``."""

    def __init__(self, task: Task, clock: Clock) -> None:
        self.task, self.clock = task, clock
        self.splits = Splits(clock, task.x0.device)
        self.rng = generator(0, device=task.x0.device)
        self.state: ChainState = start_chains(task.kernel, task.energy, task.x0)
        self.restart()

    def restart(self) -> None:
        self.costs: list[tuple[Cost, int]] = []
        self.floor_costs: list[tuple[Cost, int]] = []
        self.by_hand_costs: list[tuple[Cost, int]] = []
        self.by_hand_seconds = 0.0

    @property
    def by_hand(self) -> float:
        """Seconds of a step."""
        return self.by_hand_seconds / sum(steps for _, steps in self.by_hand_costs)

    def one_step(self) -> None:
        self.state, _ = self.task.kernel.step(self.state, self.task.energy, self.rng)

    def many_steps(self, count: int) -> None:
        for _ in range(count):
            self.one_step()

    def round(self, steps: int) -> Round:
        task = self.task
        with recorded(task.kernel, task.proposer, task.models, self.clock) as recording:
            seconds = timed(lambda: self.many_steps(steps), self.clock)
        self.costs.append((recording.cost, steps))
        floor = self._floor(recording, steps)
        self._turn_by_hand()
        inside = self.clock.seconds(recording.inside)
        return Round(seconds / steps, floor / steps, inside / steps)

    def _turn_by_hand(self) -> None:
        """Steps for ``TURN`` seconds, whatever each of them costs."""
        seconds, steps = 0.0, 0
        with counted(self.task.models) as cost:
            while steps == 0 or (seconds < TURN and steps < MOST):
                seconds, steps = seconds + timed(lambda: next(self.task.by_hand), self.clock), steps + 1
        self.by_hand_costs.append((cost, steps))
        self.by_hand_seconds += seconds

    def _floor(self, recording: Recording, steps: int) -> float:
        cost, seconds = Cost(), 0.0
        for move in recording.moves:
            seconds += self.splits.floor(list(self.task.floor(move)), cost)
        self.floor_costs.append((cost, steps))
        return seconds


def _steps(seconds: float) -> int:
    """How many make a turn."""
    affordable = int(min(FEWEST, SLOW / seconds))
    return max(1, affordable, min(MOST, round(TURN / seconds)))


def _mean(costs: Sequence[tuple[Cost, int]]) -> dict[str, float]:
    """Of a step."""
    steps = sum(count for _, count in costs)
    return {name: sum(asdict(cost)[name] for cost, _ in costs) / steps for name in ("forwards", "rows", "tokens")}


def _ess(task: Task, steps: int) -> tuple[float, float]:
    """Bulk ESS of the energy over the second half of ``steps``, by the seconds and the million tokens these take."""
    thin = 1 if task.watched is None else max(1, steps // 2 // KEPT)
    began = time.perf_counter()
    with counted(task.models) as cost:
        trace = sample(
            task.kernel, task.energy, task.x0, steps=steps, warmup=steps // 2, thin=thin,
            shard_size=len(task.x0), progress=False,
        )  # fmt: skip
    if task.x0.is_cuda:
        torch.cuda.synchronize(task.x0.device)
    share = 1 - (steps // 2) / steps
    seconds, tokens = (time.perf_counter() - began) * share, cost.tokens * share
    if task.watched is not None:
        trace = trace.rescored(task.watched)
    ess: Any = diagnose(trace.energy).ess_bulk
    return (ess / seconds, 1e6 * ess / tokens) if math.isfinite(ess) else (math.nan, math.nan)
