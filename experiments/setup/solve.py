"""Every sampler on one problem: what an experiment sets up, and the ways to solve it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.results.cost import Spent, counted
from experiments.results.draws_run import DrawsRun
from experiments.results.html import page
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun
from experiments.results.text_run import TextRun
from experiments.runs.run_directory import RunDirectory, Work, run_directory
from experiments.runs.workers import run_workers
from experiments.setup.settings import WHOLE, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Annealed, Distribution, Energy, ImportanceSample, Kernel, RejectionSample, Trace

__all__ = [
    "Job",
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

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """What is sampled. ``target`` says it in words.

    ``models`` are those whose passes count as cost and which a run that goes on must find unchanged, by the option
    that names each: objects with a ``model`` and a ``space``.
    """

    space: TextSpace
    energy: Energy
    x0: Tensor
    target: str
    models: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raise ``InvalidInput`` for a start that a constraint forbids."""
        from samplers import InvalidInput, WeightedSum

        parts = self.energy.parts if isinstance(self.energy, WeightedSum) else []
        for term in (part for _, part in parts if part.is_constraint):
            forbidden = (term(self.x0) == math.inf).nonzero().squeeze(1)
            if len(forbidden):
                text = self.space.decode(self.x0[forbidden[:1]])[0]
                raise InvalidInput(f"the start {text!r} breaks the constraint {term.name!r}; change one of the two")


@dataclass(frozen=True)
class Job:
    """A run under way: what was asked for, its ``config`` as it is kept, and its folder, if it has one."""

    settings: Settings
    config: Mapping[str, Any]
    directory: RunDirectory | None

    def finish(self, run: Run) -> None:
        """Write samples, summary and page."""
        if self.directory and not self.settings.share:
            summary = run.summary()
            self.directory.finish(run, summary, page(run, summary))


@contextmanager
def begun(settings: Settings, config: Mapping[str, Any], *, extensible: bool = True) -> Iterator[Job]:
    """Begin the run, or go on with the one that the folder holds. Raises as ``run_directory`` does.

    With more steps than before only if it is ``extensible`` and its sampler's draws do not depend on their number.
    """
    if not settings.out:
        yield Job(settings, config, None)
        return
    with run_directory(
        settings.out,
        config,
        extensible=extensible and config.get("sampler") not in WHOLE,
        every=settings.commit_every,
        allow_version_change=settings.allow_version_change,
        held=settings.share is not None,
    ) as directory:
        yield Job(settings, config, directory)


def run_chains(
    problem: Problem, kernel: Kernel, job: Job, *, fixed_lengths: bool = False, watched: Energy | None = None
) -> TextRun:
    """Sample with Markov chains. With ``watched`` the kernel has no known target, and its draws are scored after."""
    from samplers import sample

    settings = job.settings

    def draw(**where: Any) -> Trace:
        return sample(
            kernel,
            problem.energy,
            problem.x0,
            steps=settings.steps,
            warmup=settings.burn_in,
            thin=settings.thin,
            **_how(settings),
            **where,
        )

    trace, spent = _solved(problem, job, draw, _steps(problem, settings))
    if watched is not None and not settings.share:
        trace = trace.rescored(watched)
    return TextRun(job.config, problem.target, problem.space, trace, spent, watched is None, fixed_lengths)


def run_steps(problem: Problem, kernel: Kernel, sampler: str, job: Job) -> TextRun | SearchRun:
    """``anneal``: search with the kernel; anything else: sample with it."""
    return (_search if sampler == "anneal" else run_chains)(problem, kernel, job)


def run_rejection(problem: Problem, proposal: Distribution, job: Job, *, log_bound: float) -> DrawsRun:
    """One independent draw a chain, from at most ``chains * steps`` trials; fewer draws if those run out."""
    from samplers import TrialsExhausted, rejection_sample

    settings = job.settings
    trials = settings.chains * settings.steps

    def draw(**where: Any) -> RejectionSample:
        try:
            return rejection_sample(
                problem.energy,
                proposal,
                log_bound=log_bound,
                num_samples=settings.chains,
                seed=settings.seed,
                max_trials=trials,
                batch_size=BATCH,
                **where,
            )
        except TrialsExhausted as error:
            return error.result

    result, spent = _solved(problem, job, draw, Work(1, trials, "texts"))
    return _scored(problem, result, result.x, job, spent)


def run_importance(problem: Problem, proposal: Distribution, job: Job) -> DrawsRun:
    """``chains * steps`` weighted draws, of which ``chains`` are drawn again by weight to be read."""
    from samplers import importance_sample

    settings = job.settings
    count = settings.chains * settings.steps

    def draw(**where: Any) -> ImportanceSample:
        return importance_sample(
            problem.energy, proposal, num_samples=count, seed=settings.seed, batch_size=BATCH, **where
        )

    result, spent = _solved(problem, job, draw, Work(1, count, "texts"))
    # Another seed than that of the draws, or both would read one stream.
    x = result.resample(settings.chains, seed=settings.seed + 1)
    return _scored(problem, result, x, job, spent)


def _scored(
    problem: Problem, result: RejectionSample | ImportanceSample, x: Tensor, job: Job, spent: Spent
) -> DrawsRun:
    """The run, with the terms of each draw's energy."""
    import torch

    from samplers import evaluate, term_names

    names = term_names(problem.energy)
    terms = torch.zeros(0, len(names), dtype=torch.float64)
    if len(x):
        with torch.inference_mode():
            terms = evaluate(problem.energy, x).terms
    return DrawsRun(job.config, problem.target, problem.space, result, x, terms, names, job.settings.chains, spent)


def in_words(energy: Energy, suffix: str = "") -> str:
    """``exp(-(fluency + 2 similarity))``, hard terms after "given"."""
    from samplers import WeightedSum, term_names

    if not isinstance(energy, WeightedSum):
        return f"exp(-{term_names(energy)[0]}){suffix}"
    soft = [
        part.name if weight == 1 else f"{weight:g} {part.name}"
        for weight, part in energy.parts
        if not part.is_constraint
    ]
    hard = [part.name for _, part in energy.parts if part.is_constraint]
    law = f"exp(-({' + '.join(soft)}))" if len(soft) > 1 else f"exp(-{soft[0]})" if soft else "uniform"
    return law + (f" given {', '.join(hard)}" if hard else "") + suffix


def _search(problem: Problem, kernel: Kernel, job: Job) -> SearchRun:
    """Search for the lowest energy while the temperature falls geometrically from ``HOT`` to ``COLD``."""
    from samplers import anneal, geometric

    settings = job.settings

    def find(**where: Any) -> Annealed:
        return anneal(
            kernel,
            problem.energy,
            problem.x0,
            schedule=geometric(HOT, COLD),
            steps=settings.steps,
            **_how(settings),
            **where,
        )

    found, spent = _solved(problem, job, find, _steps(problem, settings))
    return SearchRun(job.config, problem.target, problem.space, found, spent)


def _how(settings: Settings) -> dict[str, Any]:
    """Arguments that ``sample`` and ``anneal`` share."""
    report = settings.progress
    return {
        "seed": settings.seed,
        "shard_size": settings.shard_size,
        "nan": settings.nan,
        "progress": report is True,
        "observers": [lambda step, state, info: report(1)] if callable(report) else [],
    }


def _steps(problem: Problem, settings: Settings) -> Work:
    shards = -(-len(problem.x0) // settings.shard_size)
    return Work(shards, shards * settings.steps, "steps")


def _solved(problem: Problem, job: Job, solve: Callable[..., T], work: Work) -> tuple[T, Spent]:
    """What ``solve`` gives, in the run's folder if it has one. Energies that fail tell their texts."""
    directory, settings = job.directory, job.settings
    with counted(each.model for each in problem.models.values()) as cost, problem.space.texts_in_errors():
        began = time.monotonic()
        if directory is None:
            return solve(), Spent(time.monotonic() - began, cost)
        directory.work = work
        directory.pin_models(problem.models)
        directory.store.meter = lambda: {"seconds": time.monotonic() - began, **vars(cost)}
        if settings.share:
            first, apart = settings.share
            result = solve(run_dir=directory.store, shards=range(first, work.shards, apart))
            return result, Spent(time.monotonic() - began, cost)
        before = directory.done()
        if settings.workers > 1:
            run_workers(directory, settings.workers, progress=settings.progress is True)
        result = solve(run_dir=directory.store)
    spent = Spent.of(directory.store.totals(work.shards))
    return result, spent if directory.done() > before else replace(spent, news=directory.finished_before)
