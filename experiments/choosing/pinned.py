"""What the folder of a run without draws records before it begins."""

from __future__ import annotations

from experiments.setup.job import Job
from experiments.setup.problem import Problem
from experiments.setup.stored_run import PROBLEM, Outline

__all__ = ["pin_exact"]


def pin_exact(problem: Problem, job: Job) -> None:
    """Models and problem, where the run has a folder. Raises ``InvalidInput`` for one that holds another run."""
    if job.directory is None:
        return
    job.directory.pin_models(problem.models)
    outline = Outline.of(problem, "exact", problem.target).as_json()
    job.directory.store.pin(PROBLEM, outline, free=outline)
    job.directory.store.make()
