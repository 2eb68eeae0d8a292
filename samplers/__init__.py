"""Samplers of ``exp(-energy)`` for any tensor state, batched over chains.

Draw
    ``sample`` (Markov chains), ``smc`` (populations), ``rejection_sample``, ``importance_sample``; ``anneal`` searches
    for the lowest energy; ``iterate`` is the bare loop of a kernel.
Kernels
    ``MetropolisHastings``, ``Gibbs``, ``ShortlistGibbs``, ``PseudoGibbs`` (no known target); ``Mixture``, ``Cycle``,
    ``Tempered``, ``PathTempered``, ``ConditionalSMC`` and ``DelayedAcceptance`` are made of other kernels.
Energies
    any function ``x [chains, ...] -> [chains]`` in nats; ``named``, ``Constraint``, ``EnergyTerm`` and ``WeightedSum``
    name and add them; ``evaluate`` scores states and checks the answer.
Results
    ``Trace``, ``SMCSample``, ``RejectionSample``, ``ImportanceSample``, ``Annealed``; ``diagnose`` and
    ``compare_starts`` for convergence.
Runs in a folder
    ``run_dir=...`` or ``RunStore``; ``Configurable.config`` is what a resumed run is compared by.
To implement
    the protocols ``Energy``, ``Proposal``, ``Kernel`` and ``Distribution``; ``samplers.testing`` checks them.
Errors
    every error raised on purpose is a ``McmcTextError``; see ``help(samplers.errors)``.
"""

from samplers.annealing import Annealed, anneal
from samplers.config import Configurable
from samplers.energy.evaluation import evaluate, evaluate_candidates
from samplers.energy.nan_policy import NaNPolicy
from samplers.energy.term_cost import TermCost, measure_terms
from samplers.energy.terms import CallCounter, Constraint, EnergyTerm, Flat, WeightedSum, named, term_names
from samplers.energy.watched import Watched
from samplers.errors import (
    BoundViolated,
    EnergyError,
    Interrupted,
    InvalidInput,
    McmcTextError,
    OutOfMemory,
    PopulationDied,
    ProposalError,
    StoreError,
    TooManyNaN,
    TrialsExhausted,
)
from samplers.importance import ImportanceSample, importance_sample
from samplers.independence import IndependenceProposal
from samplers.kernels.compose import Cycle, Mixture
from samplers.kernels.conditional_smc import ConditionalSMC
from samplers.kernels.delayed_acceptance import DelayedAcceptance, delayed_report
from samplers.kernels.gibbs import Gibbs, PseudoGibbs
from samplers.kernels.metropolis import MetropolisHastings
from samplers.kernels.path_tempering import PathTempered
from samplers.kernels.replicas import swap_report
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.kernels.tempering import Tempered
from samplers.randomness import generator
from samplers.rejection import RejectionSample, rejection_sample
from samplers.run.chains import iterate, sample
from samplers.run.diagnostics import Diagnostics, diagnose
from samplers.run.start_comparison import StartComparison, compare_starts
from samplers.run.trace import MoveCount, Trace
from samplers.schedules import constant, geometric, linear, logarithmic
from samplers.sequential_monte_carlo import SMCSample, smc
from samplers.storage.run_store import RunStore
from samplers.types import (
    ChainState,
    Distribution,
    Drawn,
    Energy,
    Kernel,
    PopulationDraw,
    Proposal,
    Proposed,
    StepInfo,
)
from samplers.version import __version__

__all__ = [
    "Annealed",
    "BoundViolated",
    "CallCounter",
    "ChainState",
    "ConditionalSMC",
    "Configurable",
    "Constraint",
    "Cycle",
    "DelayedAcceptance",
    "Diagnostics",
    "Distribution",
    "Drawn",
    "Energy",
    "EnergyError",
    "EnergyTerm",
    "Flat",
    "Gibbs",
    "ImportanceSample",
    "IndependenceProposal",
    "Interrupted",
    "InvalidInput",
    "Kernel",
    "McmcTextError",
    "MetropolisHastings",
    "Mixture",
    "MoveCount",
    "NaNPolicy",
    "OutOfMemory",
    "PathTempered",
    "PopulationDied",
    "PopulationDraw",
    "Proposal",
    "ProposalError",
    "Proposed",
    "PseudoGibbs",
    "RejectionSample",
    "RunStore",
    "SMCSample",
    "ShortlistGibbs",
    "StartComparison",
    "StepInfo",
    "StoreError",
    "Tempered",
    "TermCost",
    "TooManyNaN",
    "Trace",
    "TrialsExhausted",
    "Watched",
    "WeightedSum",
    "__version__",
    "anneal",
    "compare_starts",
    "constant",
    "delayed_report",
    "diagnose",
    "evaluate",
    "evaluate_candidates",
    "generator",
    "geometric",
    "importance_sample",
    "iterate",
    "linear",
    "logarithmic",
    "measure_terms",
    "named",
    "rejection_sample",
    "sample",
    "smc",
    "swap_report",
    "term_names",
]
