"""Test doubles that ship with the library: enumerable targets, exact matrices, gates, broken kernels, the battery.

``python -m samplers.testing.battery`` prints the table of verdicts. To prove a proposal or kernel of one's own:
``check_proposal(proposal, states, rng)`` and ``transition_matrix(kernel, Enumerated(states, energy))``.
"""

from samplers.testing.cases import CASES, MUTANTS, Case, Mutant
from samplers.testing.chains import (
    detailed_balance_error,
    invariance_error,
    is_primitive,
    spectral_gap,
    stationary_law,
)
from samplers.testing.contract import allowed_costs, check_contract
from samplers.testing.gates import ALPHA, InvalidTest, Result, kl_gate, kl_statistic, pair_gate, pair_statistic, pool
from samplers.testing.invariances import check_independence, check_invariances, relabelled
from samplers.testing.law_checks import (
    check_end_law,
    check_ergodic,
    check_matrix,
    check_pairs,
    check_transitions,
    row_result,
)
from samplers.testing.matrices import period, proposal_matrix, step_matrix, transition_matrix
from samplers.testing.proposal_checks import check_proposal, check_proposals
from samplers.testing.proposals import (
    Relabelled,
    SiteProposal,
    TabularProposal,
    TabularShortlist,
    dirichlet_table,
    independence_table,
)
from samplers.testing.simulate import DRAWS
from samplers.testing.spaces import Started, joint_index, joint_law, joint_states, ladder, replicas
from samplers.testing.targets import (
    Enumerated,
    Target,
    dyadic_target,
    enumerate_states,
    random_target,
    two_mode_target,
)

__all__ = [
    "ALPHA",
    "CASES",
    "DRAWS",
    "MUTANTS",
    "Case",
    "Enumerated",
    "InvalidTest",
    "Mutant",
    "Relabelled",
    "Result",
    "SiteProposal",
    "Started",
    "TabularProposal",
    "TabularShortlist",
    "Target",
    "allowed_costs",
    "check_contract",
    "check_end_law",
    "check_ergodic",
    "check_independence",
    "check_invariances",
    "check_matrix",
    "check_pairs",
    "check_proposal",
    "check_proposals",
    "check_transitions",
    "detailed_balance_error",
    "dirichlet_table",
    "dyadic_target",
    "enumerate_states",
    "independence_table",
    "invariance_error",
    "is_primitive",
    "joint_index",
    "joint_law",
    "joint_states",
    "kl_gate",
    "kl_statistic",
    "ladder",
    "pair_gate",
    "pair_statistic",
    "period",
    "pool",
    "proposal_matrix",
    "random_target",
    "relabelled",
    "replicas",
    "row_result",
    "spectral_gap",
    "stationary_law",
    "step_matrix",
    "transition_matrix",
    "two_mode_target",
]
