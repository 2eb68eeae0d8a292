"""Clocks for the processor and the GPU, stages of bare passes timed, and the split of rows that is fastest."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.benchmarking.reference_forwards import Pass
from experiments.results.cost import Cost
from lm_adapters.forward import is_out_of_memory, passes

__all__ = ["Choice", "Clock", "CpuClock", "CudaClock", "Span", "Splits", "Stage", "make_clock", "run_stage", "timed"]

Span = tuple[Any, Any]  # two marks of a clock

SPLITS = tuple(2**n for n in range(8, 18))  # tokens of a pass that are tried
PROBED = {"cpu": 4096, "cuda": 2**17}  # tokens of a stage on which its split is chosen
ROUNDS = 3


class Clock(Protocol):
    def mark(self) -> Any:
        """A point in time, in the order of the device's own work."""

    def seconds(self, spans: Iterable[Span]) -> float:
        """What lies inside all spans; waits until they are over."""


class CpuClock:
    """CPU time where torch has one thread, which others on the machine hardly move; else that of the wall."""

    def __init__(self) -> None:
        self._now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def mark(self) -> float:
        return self._now()

    def seconds(self, spans: Iterable[Span]) -> float:
        return sum(end - start for start, end in spans)


class CudaClock:
    """Events of the device, so that work that is only queued counts in full."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def seconds(self, spans: Iterable[Span]) -> float:
        torch.cuda.synchronize(self.device)
        return sum(start.elapsed_time(end) for start, end in spans) / 1000


def make_clock(device: torch.device) -> Clock:
    return CudaClock(device) if device.type == "cuda" else CpuClock()


def timed(run: Callable[[], object], clock: Clock) -> float:
    start = clock.mark()
    run()
    return clock.seconds([(start, clock.mark())])


class Stage(Protocol):
    """Rows of one model that do not wait for each other.

    ``name`` says what for. ``plans`` are the ways to read the rows, ``widths(plan)`` the tokens of each row by one of
    them, ``bare(plan, rows)`` the pass over some of them, and ``take(rows)`` the stage of these alone.
    """

    name: str

    @property
    def plans(self) -> Sequence[str]: ...

    def widths(self, plan: str) -> Tensor: ...

    def bare(self, plan: str, rows: Tensor) -> Pass: ...

    def take(self, rows: Tensor) -> Stage: ...


@dataclass(frozen=True)
class Choice:
    """A plan, and the most tokens of a pass, padding included, by which its rows are split."""

    plan: str
    tokens: int

    def __str__(self) -> str:
        return f"{self.plan} {self.tokens}"


def run_stage(stage: Stage, choice: Choice, clock: Clock, cost: Cost | None = None) -> float:
    """Seconds of the bare passes over a stage; what they read is made ready between them and not timed."""
    spans: list[Span] = []
    for rows in passes(stage.widths(choice.plan), choice.tokens):
        bare = stage.bare(choice.plan, rows)
        start = clock.mark()
        bare.run()
        spans.append((start, clock.mark()))
        if cost is not None:
            cost.forwards += 1
            cost.rows += bare.ids.shape[0]
            cost.tokens += bare.ids.numel()
    return clock.seconds(spans)


class Splits:
    """The fastest ``Choice`` of each kind of stage, found by trying them when the kind is first seen.

    Tried on evenly spaced rows of the stages at hand, as many as make a few of the largest passes.
    """

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self.clock, self.probed = clock, PROBED[device.type]
        self.chosen: dict[str, Choice] = {}

    def learn(self, stages: Iterable[Stage]) -> None:
        for name in dict.fromkeys(stage.name for stage in stages):
            if name not in self.chosen:
                largest = max((s for s in stages if s.name == name), key=lambda s: int(s.widths(s.plans[0]).sum()))
                self.chosen[name] = self._fastest(_thinned(largest, self.probed))

    def floor(self, stages: Sequence[Stage], cost: Cost | None = None) -> float:
        """Seconds of all stages one after the other, each in its fastest split."""
        self.learn(stages)
        return sum(run_stage(stage, self.chosen[stage.name], self.clock, cost) for stage in stages)

    def _fastest(self, stage: Stage) -> Choice:
        seconds: dict[Choice, list[float]] = {choice: [] for choice in choices(stage)}
        for _ in range(ROUNDS):
            for choice, times in seconds.items():
                times.append(self._tried(stage, choice))
        return min(seconds, key=lambda choice: statistics.median(seconds[choice]))

    def _tried(self, stage: Stage, choice: Choice) -> float:
        try:
            return run_stage(stage, choice, self.clock)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return math.inf


def choices(stage: Stage) -> list[Choice]:
    """Every plan with every split that cuts the rows in another number of passes; the smallest bound for each."""
    found = []
    for plan in stage.plans:
        widths, counts = stage.widths(plan), set()
        for tokens in SPLITS:
            count = sum(1 for _ in passes(widths, tokens))
            if count not in counts:
                counts.add(count)
                found.append(Choice(plan, tokens))
    return found


def _thinned(stage: Stage, tokens: int) -> Stage:
    """Evenly spaced rows with about that many tokens; the stage itself where it has no more."""
    widths = stage.widths(stage.plans[0])
    total = int(widths.sum())
    if total <= tokens:
        return stage
    count = max(1, len(widths) * tokens // total)
    return stage.take(torch.linspace(0, len(widths) - 1, count, device=widths.device).long())
