"""The ways to solve a problem: Markov chains, a search, whole texts by rejection or by importance."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.executors.share import OnlyBegun
from experiments.executors.shares import executor_of, run_shares
from experiments.laws.cooling import COLD, HOT
from experiments.results.cost import Spent, counted, totals_of
from experiments.results.draws_run import DrawsRun
from experiments.results.search_run import SearchRun
from experiments.results.text_run import TextRun
from experiments.runs.run_directory import RunDirectory, Work
from experiments.setup.job import Job
from experiments.setup.own_energies import ForbiddenStarts, contradictions, own_terms
from experiments.setup.problem import Problem
from experiments.setup.stored_run import PROBLEM, Outline
from experiments.starts.low import with_low_half

if TYPE_CHECKING:
    from torch import Tensor

    from samplers import Distribution, Energy, ImportanceSample, Kernel, RejectionSample

__all__ = [
    "do_with_folder",
    "doubts",
    "draw_by_importance",
    "draw_by_rejection",
    "sample_chains",
    "sample_or_search",
    "search_best",
    "terms_of",
]

BATCH = 256  # texts drawn together

T = TypeVar("T")


def sample_chains(
    problem: Problem, kernel: Kernel, job: Job, *, fixed_lengths: bool = False, watched: Energy | None = None
) -> TextRun:
    """Sample with Markov chains, one for each start.

    ``fixed_lengths``: chains keep their lengths, so that only chains of one length are compared. With ``watched`` the
    kernel has no known target, and its draws are scored afterwards. Raises as ``samplers.sample`` does.
    """
    from samplers import sample

    settings = job.settings
    warmup, thin = settings.warmup_and_thin
    with problem.space.texts_in_errors():
        problem = with_low_half(problem, kernel, job, fixed_lengths=fixed_lengths)
    target = problem.target + _numbers_only(job)
    trace, spent = do_with_folder(
        lambda **where: sample(
            kernel,
            problem.energy,
            problem.x0,
            steps=settings.steps,
            warmup=warmup,
            thin=thin,
            **_shared_arguments(problem, job),
            **where,
        ),
        problem,
        job,
        _steps(problem, job),
        Outline.of(problem, "chains", target, kernel.move_names, known=watched is None, fixed=fixed_lengths),
    )
    if watched is not None and not job.share:
        trace = trace.rescored(watched)
    return TextRun(
        job.config,
        target,
        problem.space,
        trace,
        spent,
        watched is None,
        fixed_lengths,
        problem.constraints,
        doubts(problem, job, trace.draws.flatten(0, 1), trace.terms.flatten(0, 1), spent) if watched is None else "",
        job.starts.from_below,
    )


def search_best(problem: Problem, kernel: Kernel, job: Job) -> SearchRun:
    """Search for the lowest energy while the temperature falls geometrically from ``HOT`` to ``COLD``."""
    from samplers import anneal, geometric
    from samplers.run import forbidding_terms

    objective = problem.objective + _numbers_only(job) + f"; temperature from {HOT:g} to {COLD:g}"
    found, spent = do_with_folder(
        lambda **where: anneal(
            kernel,
            problem.energy,
            problem.x0,
            schedule=geometric(HOT, COLD),
            steps=job.settings.steps,
            **_shared_arguments(problem, job),
            **where,
        ),
        problem,
        job,
        _steps(problem, job),
        Outline.of(problem, "search", objective, kernel.move_names),
    )
    doubt = doubts(problem, job, found.x, found.terms, spent)
    if by := forbidding_terms(problem.energy, found.terms):
        where = "every text" if bool((found.energy == math.inf).all()) else "the best text of some chains"
        doubt = "; ".join(filter(None, [doubt, f"{' and '.join(map(repr, by))} forbids {where}"]))
    return SearchRun(job.config, objective, problem.space, found, spent, problem.constraints, doubt)


def sample_or_search(problem: Problem, kernel: Kernel, sampler: str, job: Job) -> TextRun | SearchRun:
    """``anneal``: search with the kernel; anything else: sample with it."""
    return (search_best if sampler == "anneal" else sample_chains)(problem, kernel, job)


def draw_by_rejection(problem: Problem, proposal: Distribution, job: Job, *, log_bound: float) -> DrawsRun:
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
                observers=_batches(problem, job, trials),
                **where,
            )
        except TrialsExhausted as error:
            result: RejectionSample = error.result
            return result

    result, spent = do_with_folder(
        draw, problem, job, Work(1, trials, "texts"), Outline.of(problem, "rejection", problem.target)
    )
    return _with_terms(problem, result, result.x, job, spent)


def draw_by_importance(problem: Problem, proposal: Distribution, job: Job) -> DrawsRun:
    """``chains * steps`` weighted draws, of which ``chains`` are drawn again by weight to be read."""
    from samplers import importance_sample

    settings = job.settings
    count = settings.chains * settings.steps
    result, spent = do_with_folder(
        lambda **where: importance_sample(
            problem.energy,
            proposal,
            num_samples=count,
            seed=settings.seed,
            batch_size=BATCH,
            observers=_batches(problem, job, count),
            **where,
        ),
        problem,
        job,
        Work(1, count, "texts"),
        Outline.of(problem, "importance", problem.target),
    )
    x = result.resample(settings.chains, seed=settings.seed)
    return replace(_with_terms(problem, result, x, job, spent), normalised=not hasattr(proposal, "mass"))


def _with_terms(
    problem: Problem, result: RejectionSample | ImportanceSample, x: Tensor, job: Job, spent: Spent
) -> DrawsRun:
    """The run of the draws ``x``, with the terms of their energies."""
    terms, names = terms_of(problem, x)
    doubt = doubts(problem, job, x, terms, spent)
    return DrawsRun(
        job.config, problem.target, problem.space, result, x, terms, names, job.settings.chains, spent, doubt
    )


def terms_of(problem: Problem, x: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """``float64 [draws, terms]`` of the draws ``x``, and the names of the terms."""
    import torch

    from samplers import evaluate, term_names

    names = term_names(problem.energy)
    if not len(x):
        return torch.zeros(0, len(names), dtype=torch.float64), names
    with torch.inference_mode():
        return evaluate(problem.energy, x).terms, names


def _numbers_only(job: Job) -> str:
    return ", where no energy is NaN" if job.settings.nan == "reject" else ""


def doubts(problem: Problem, job: Job, x: Tensor, terms: Tensor, spent: Spent) -> str:
    """What speaks against the user's own energies after the run, said in a warning too."""
    if job.share or not (doubt := contradictions(problem.energy, x, terms, spent)):
        return ""
    warnings.warn(f"{doubt}; the draws follow no law that can be stated", stacklevel=3)
    return doubt


def _shared_arguments(problem: Problem, job: Job) -> dict[str, Any]:
    """Of ``sample`` and ``anneal``."""
    settings, report, watch = job.settings, job.progress, job.watch(problem.space)
    forbidden = ForbiddenStarts(problem.energy, init="init" in job.config)
    return {
        "seed": settings.seed,
        "shard_size": settings.chains_per_shard,
        "nan": settings.nan,
        "progress": report is True and watch is None,
        "observers": [
            forbidden,
            *([lambda step, state, info: report(1)] if callable(report) else []),
            *([watch.steps(settings.steps)] if watch else []),
        ],
    }


def _batches(problem: Problem, job: Job, total: int) -> list[Callable[[int, Tensor, Tensor], None]]:
    watch = job.watch(problem.space)
    return [watch.batches(total)] if watch else []


def _steps(problem: Problem, job: Job) -> Work:
    shards = -(-len(problem.x0) // job.settings.chains_per_shard)
    return Work(shards, shards * job.settings.steps, "steps")


def _try_energy(problem: Problem, directory: RunDirectory, chains: int) -> None:
    """Score the first starts, as the first worker will, before there is a folder, and then make it."""
    import torch

    from samplers import evaluate

    if not directory.store.is_made:
        with torch.inference_mode():
            evaluate(problem.energy, problem.x0[:chains])
        directory.store.make()


def do_with_folder(
    method: Callable[..., T], problem: Problem, job: Job, work: Work, outline: Outline
) -> tuple[T, Spent]:
    """The result of ``method``, kept in the run's folder if it has one, and its cost.

    Errors of energies name the texts at fault.
    """
    from samplers import measure_terms

    directory, settings = job.directory, job.settings
    own = tuple(term.name for _, _, term in own_terms(problem.energy))
    models = (each.model for each in problem.models.values())
    with counted(models) as cost, measure_terms() as terms, problem.space.texts_in_errors():
        began = time.monotonic()

        def totals() -> dict[str, float]:
            return totals_of(time.monotonic() - began, cost, terms)

        if directory is None:
            return method(), Spent.of(totals(), own, job.starts.totals)
        directory.work = work
        directory.pin_models(problem.models)
        directory.store.is_state = lambda x: bool(problem.space.is_state(x).all())
        directory.store.meter = totals
        if share := job.share:
            if share.task.only_begin:
                raise OnlyBegun
            result = method(run_dir=directory.store, shards=share.shards(work.shards))
            return result, Spent.of(totals(), own)
        job.space[:] = [problem.space]
        directory.store.pin(PROBLEM, outline.as_json(), free=outline.as_json())
        if not (before := directory.done()):
            job.starts.keep(directory.store, problem.x0)
        if settings.elsewhere:
            _try_energy(problem, directory, settings.chains_per_shard)
            executor = executor_of(settings.backend, settings.ray_address, settings.device)
            run_shares(
                directory,
                job.location,
                executor,
                settings.workers,
                progress=settings.progress is True,
                watch=job.watch(problem.space),
            )
        result = method(run_dir=directory.store)
    spent = Spent.of(directory.store.totals(work.shards), own, job.starts.totals)
    return result, spent if directory.done() > before else replace(spent, news=directory.finished_before)
