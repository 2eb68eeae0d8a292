from .annealing import Annealed, anneal
from .config import Configurable
from .energy.evaluation import evaluate, evaluate_candidates
from .energy.nan_policy import NaNPolicy
from .energy.term_cost import TermCost, measure_terms
from .energy.terms import CallCounter, Constraint, EnergyTerm, Flat, WeightedSum, named, term_names
from .energy.watched import Watched
from .errors import (
    BoundViolated,
    EnergyError,
    FolderInUse,
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
from .importance import ImportanceSample, importance_sample
from .independence import IndependenceProposal
from .kernels.compose import Cycle, Mixture
from .kernels.conditional_smc import ConditionalSMC
from .kernels.delayed_acceptance import DelayedAcceptance, delayed_report
from .kernels.gibbs import Gibbs, PseudoGibbs
from .kernels.gradient_proposal import GradientProposal
from .kernels.independence_steps import IndependenceSteps
from .kernels.locally_informed import LocallyInformed, SingleSiteChanges
from .kernels.metropolis import MetropolisHastings
from .kernels.multiple_try import MultipleTry
from .kernels.path_tempering import PathTempered
from .kernels.pseudo_marginal import PseudoMarginal, pseudo_marginal_report
from .kernels.replicas import swap_report
from .kernels.shortlist_gibbs import ShortlistGibbs
from .kernels.tempering import Tempered
from .randomness import generator
from .rejection import RejectionSample, rejection_sample
from .run.chains import iterate, sample
from .run.diagnostics import Diagnostics, diagnose
from .run.start_comparison import StartComparison, compare_starts
from .run.trace import MoveCount, Trace
from .schedules import constant, geometric, linear, logarithmic
from .sequential_monte_carlo import SMCSample, smc
from .storage.run_store import RunStore
from .types import (
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
from .version import __version__

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
    "FolderInUse",
    "Gibbs",
    "GradientProposal",
    "ImportanceSample",
    "IndependenceProposal",
    "IndependenceSteps",
    "Interrupted",
    "InvalidInput",
    "Kernel",
    "LocallyInformed",
    "McmcTextError",
    "MetropolisHastings",
    "Mixture",
    "MoveCount",
    "MultipleTry",
    "NaNPolicy",
    "OutOfMemory",
    "PathTempered",
    "PopulationDied",
    "PopulationDraw",
    "Proposal",
    "ProposalError",
    "Proposed",
    "PseudoGibbs",
    "PseudoMarginal",
    "RejectionSample",
    "RunStore",
    "SMCSample",
    "ShortlistGibbs",
    "SingleSiteChanges",
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
    "pseudo_marginal_report",
    "rejection_sample",
    "sample",
    "smc",
    "swap_report",
    "term_names",
]
