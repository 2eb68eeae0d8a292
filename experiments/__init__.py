"""Experiments: one file each, usable as a command (``mcmc-text NAME``) and as a plain Python function.

A new one is a function with ``@experiment``, in a file anywhere; ``examples/my_experiment.py`` is one to start from.
"""

import os

# The library that multiplies torch's matrices on x86 lets the last bits depend on the number of threads, unless this
# is set before its first use. AVX2 is what all its machines have; it costs nothing measurable there.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

from experiments.declaration.arguments import Option
from experiments.doctor.examine import examine_energy
from experiments.entry.experiment import experiment
from experiments.entry.report import report
from experiments.entry.saved_run import SavedRun, load_run
from experiments.laws.target import in_words
from experiments.results.draws_run import DrawsRun
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun
from experiments.results.text_run import TextRun
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from experiments.setup.methods import (
    draw_by_importance,
    draw_by_rejection,
    sample_chains,
    sample_or_search,
    search_best,
)
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_meaning, load_scorer, load_seq2seq
from experiments.setup.settings import Settings

__all__ = [
    "DrawsRun",
    "Job",
    "Option",
    "Problem",
    "Run",
    "SavedRun",
    "SearchRun",
    "Settings",
    "TextRun",
    "draw_by_importance",
    "draw_by_rejection",
    "edit_kernel",
    "examine_energy",
    "experiment",
    "in_words",
    "load_meaning",
    "load_run",
    "load_scorer",
    "load_seq2seq",
    "report",
    "sample_chains",
    "sample_or_search",
    "search_best",
    "shortlist_kernel",
]
