"""Every sampler on one problem: what an experiment sets up, and the ways to solve it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.cost import Cost, counted
from experiments.draws_run import DrawsRun
from experiments.report import Run
from experiments.search_run import SearchRun
from experiments.settings import Settings
from experiments.text_run import TextRun

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_adapters import TextSpace
    from samplers import Distribution, Energy, ImportanceSample, Kernel, RejectionSample

__all__ = [
    "Problem",
    "begun",
    "in_words",
    "run_chains",
    "run_importance",
    "run_rejection",
    "run_steps",
]

BATCH = 256  # texts drawn together
HOT, COLD = 1.0, 0.1  # temperatures of a search; energies are nats of a sentence


@dataclass(frozen=True)
class Problem:
    """What is sampled. ``target`` says it in words; ``models`` are those whose passes count as cost."""

    space: TextSpace
    energy: Energy
    x0: Tensor
    target: str
    models: Sequence[PreTrainedModel]

    def __post_init__(self) -> None:
        """Raise ``InvalidInput`` for a start that a constraint forbids."""
        from samplers import InvalidInput, WeightedSum

        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        for term in (part for _, part in parts if part.hard):
            forbidden = (term(self.x0) == math.inf).nonzero().squeeze(1)
            if len(forbidden):
                text = self.space.decode(self.x0[forbidden[:1]])[0]
                raise InvalidInput(f"the start {text!r} breaks the constraint {term.name!r}; change one of the two")


@contextmanager
def begun(settings: Settings, config: Mapping[str, Any]) -> Iterator[Callable[[Run], None]]:
    """Make the run's folder and write its configuration; the function given writes samples and summary."""
    directory = settings.directory()
    if directory:
        directory.begin(config)

    def finish(run: Run) -> None:
        if directory:
            directory.finish(run.samples(), run.summary())

    yield finish


def run_chains(
    problem: Problem,
    kernel: Kernel,
    settings: Settings,
    config: Mapping[str, Any],
    *,
    fixed_lengths: bool = False,
    watched: Energy | None = None,
) -> TextRun:
    """Sample with Markov chains. With ``watched`` the kernel has no known target, and its draws are scored after."""
    from samplers import sample

    with _measured(problem) as (cost, clock):
        trace = sample(
            kernel,
            problem.energy,
            problem.x0,
            steps=settings.steps,
            warmup=settings.burn_in,
            thin=settings.thin,
            seed=settings.seed,
            progress=settings.progress,
        )
        seconds = clock()
    if watched is not None:
        trace = trace.rescored(watched)
    return TextRun(config, problem.target, problem.space, trace, seconds, cost, watched is None, fixed_lengths)


def run_steps(
    problem: Problem, kernel: Kernel, sampler: str, settings: Settings, config: Mapping[str, Any]
) -> TextRun | SearchRun:
    """``anneal``: search with the kernel; anything else: sample with it."""
    run = _search if sampler == "anneal" else run_chains
    return run(problem, kernel, settings, config)


def run_rejection(
    problem: Problem, proposal: Distribution, settings: Settings, config: Mapping[str, Any], *, log_bound: float
) -> DrawsRun:
    """One independent draw a chain, from at most ``chains * steps`` trials; fewer draws if those run out."""
    from samplers import TrialsExhausted, rejection_sample

    with _measured(problem) as (cost, clock):
        try:
            result = rejection_sample(
                problem.energy,
                proposal,
                log_bound=log_bound,
                num_samples=settings.chains,
                seed=settings.seed,
                max_trials=settings.chains * settings.steps,
                batch_size=BATCH,
            )
        except TrialsExhausted as error:
            result = error.result
        seconds = clock()
    return _scored(problem, result, result.x, config, settings.chains, seconds, cost)


def run_importance(problem: Problem, proposal: Distribution, settings: Settings, config: Mapping[str, Any]) -> DrawsRun:
    """``chains * steps`` weighted draws, of which ``chains`` are drawn again by weight to be read."""
    from samplers import importance_sample

    with _measured(problem) as (cost, clock):
        count = settings.chains * settings.steps
        result = importance_sample(problem.energy, proposal, num_samples=count, seed=settings.seed, batch_size=BATCH)
        seconds = clock()
    # Another seed than that of the draws, or both would read one stream.
    x = result.resample(settings.chains, seed=settings.seed + 1)
    return _scored(problem, result, x, config, settings.chains, seconds, cost)


def _scored(
    problem: Problem,
    result: RejectionSample | ImportanceSample,
    x: Tensor,
    config: Mapping[str, Any],
    wanted: int,
    seconds: float,
    cost: Cost,
) -> DrawsRun:
    """The run, with the terms of each draw's energy."""
    import torch

    from samplers import evaluate, term_names

    names = term_names(problem.energy)
    terms = torch.zeros(0, len(names), dtype=torch.float64)
    if len(x):
        with torch.inference_mode():
            terms = evaluate(problem.energy, x).terms
    return DrawsRun(config, problem.target, problem.space, result, x, terms, names, wanted, seconds, cost)


def in_words(energy: Energy, suffix: str = "") -> str:
    """``exp(-(fluency + 2 similarity))``, hard terms after "given"."""
    from samplers import WeightedSum, term_names

    if not isinstance(energy, WeightedSum):
        return f"exp(-{term_names(energy)[0]}){suffix}"
    soft = [part.name if weight == 1 else f"{weight:g} {part.name}" for weight, part in energy.parts if not part.hard]
    hard = [part.name for _, part in energy.parts if part.hard]
    law = f"exp(-({' + '.join(soft)}))" if len(soft) > 1 else f"exp(-{soft[0]})" if soft else "uniform"
    return law + (f" given {', '.join(hard)}" if hard else "") + suffix


def _search(problem: Problem, kernel: Kernel, settings: Settings, config: Mapping[str, Any]) -> SearchRun:
    """Search for the lowest energy while the temperature falls geometrically from ``HOT`` to ``COLD``."""
    from samplers import anneal, geometric

    with _measured(problem) as (cost, clock):
        found = anneal(
            kernel,
            problem.energy,
            problem.x0,
            schedule=geometric(HOT, COLD),
            steps=settings.steps,
            seed=settings.seed,
            progress=settings.progress,
        )
        return SearchRun(config, problem.target, problem.space, found, clock(), cost)


@contextmanager
def _measured(problem: Problem) -> Iterator[tuple[Cost, Callable[[], float]]]:
    """Cost and seconds of what runs inside; energies that fail tell their texts."""
    began = time.monotonic()
    with counted(problem.models) as cost, problem.space.texts_in_errors():
        yield cost, lambda: time.monotonic() - began
