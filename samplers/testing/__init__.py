"""Proofs for samplers: checks of your own kernel, proposal or energy, and the battery that this library's kernels pass.

::

    check_kernel(MyKernel)                     # raises BatteryFailed, an AssertionError that names test and figures
    check_proposal(MyProposal(), states)
    check_energy(my_energy, states)

``python -m samplers.testing.battery`` prints the table of verdicts for the kernels of the library and for its mutants,
samplers that are broken on purpose. The rest is what such proofs are made of: targets with every state listed, strongly
asymmetric proposals, exact transition matrices, and statistics with gates that hold for every number of draws.
"""

from samplers.kernels.hooks import MissingHook, Space, proposal_matrix
from samplers.testing.cases import CASES, MUTANTS, Case, Mutant
from samplers.testing.chains import (
    detailed_balance_error,
    invariance_error,
    is_primitive,
    spectral_gap,
    stationary_law,
    transition_matrix,
)
from samplers.testing.energy_checks import check_energy
from samplers.testing.gates import ALPHA, InvalidTest, kl_gate, kl_statistic, pair_statistic, pool
from samplers.testing.kernel_checks import check_kernel
from samplers.testing.law_checks import row_result
from samplers.testing.proposal_checks import check_proposal
from samplers.testing.proposals import (
    Relabelled,
    SiteProposal,
    TabularDistribution,
    TabularProposal,
    TabularShortlist,
    dirichlet_table,
    independence_table,
)
from samplers.testing.report import BatteryFailed, Report, Result
from samplers.testing.targets import Enumerated, enumerate_states, random_target, two_mode_target

__all__ = [
    "ALPHA",
    "CASES",
    "MUTANTS",
    "BatteryFailed",
    "Case",
    "Enumerated",
    "InvalidTest",
    "MissingHook",
    "Mutant",
    "Relabelled",
    "Report",
    "Result",
    "SiteProposal",
    "Space",
    "TabularDistribution",
    "TabularProposal",
    "TabularShortlist",
    "check_energy",
    "check_kernel",
    "check_proposal",
    "detailed_balance_error",
    "dirichlet_table",
    "enumerate_states",
    "independence_table",
    "invariance_error",
    "is_primitive",
    "kl_gate",
    "kl_statistic",
    "pair_statistic",
    "pool",
    "proposal_matrix",
    "random_target",
    "row_result",
    "spectral_gap",
    "stationary_law",
    "transition_matrix",
    "two_mode_target",
]
