"""Tests of laws: T2 exact matrices, T3 end states, T4 pairs, T4b transitions, T5 ergodicity.

Chains start from exact draws of the target, so their end states are independent exact draws under a correct kernel
however slowly it mixes: no effective sample size, no burn-in. Gandy & Scott 2020, arXiv:2001.06465.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samplers.kernels.hooks import MissingHook, branches, step_matrices
from samplers.testing.cases import Case
from samplers.testing.chains import (
    detailed_balance_error,
    invariance_error,
    is_primitive,
    spectral_gap,
    transition_matrix,
)
from samplers.testing.gates import ALPHA, kl_gate, kl_statistic, pair_gate, pair_statistic, pool
from samplers.testing.report import Result, Skipped
from samplers.testing.simulate import DRAWS, STEPS, end_points, exact_run, run_until_branch, spread_run
from samplers.testing.spaces import joint_law

__all__ = ["DRAWS", "check_end_law", "check_ergodic", "check_matrix", "check_pairs", "check_transitions", "row_result"]

EXACT = 1e-12
REMAINDER = 1e-4  # of the slowest mode at the end of T5


def check_matrix(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T2: at each beta, rows add up to 1, the target is invariant, and detailed balance holds where it is claimed."""
    errors = []
    for beta in case.betas:
        law = joint_law(case.kernel, case.target, beta)
        for turn, matrix in enumerate(step_matrices(case.kernel, case.target, beta)):
            errors += [float((matrix.sum(dim=1) - 1).abs().max()), invariance_error(matrix, law)]
            if case.reversible and turn == 0:
                errors.append(detailed_balance_error(matrix, law))
    return [Result("T2", case.name, float(torch.tensor(errors, dtype=torch.float64).max()), EXACT)]  # NaN stays NaN


def check_end_law(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T3: after 1 and 32 steps from exact draws the states follow the target.

    At ``beta`` 1, which ties the code that runs to the exact matrices; at each ``beta`` for a kernel without any.
    """
    results = []
    for beta in (1.0,) if _has_matrix(case) else case.betas:
        run, law = exact_run(case, draws, seed, beta), case.target.probabilities(beta)
        for steps, rows in ((1, run.first), (STEPS, run.last)):
            results.append(row_result("T3", case.name, rows, law, f"steps {steps}, beta {beta:g}", pooled=True))
    return results


def check_pairs(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T4: moves ``i -> j`` and ``j -> i`` are equally frequent from an exact start, if the kernel is reversible."""
    if not case.reversible:
        raise Skipped("the kernel does not claim to be reversible")
    run, size = exact_run(case, draws, seed, 1.0), len(case.target)
    if len(run.start) != len(run.first):
        raise Skipped("the driver leaves draws out, so a first draw has no start to be paired with")
    counts = (run.start * size + run.first).bincount(minlength=size**2).reshape(size, size)
    return [Result("T4", case.name, pair_statistic(counts), pair_gate(size))]


def check_transitions(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T4b: observed transitions against the exact matrix, row by row, so that the code that runs is what was proved.

    A Mixture draws one part for all chains of a step, so each of its parts is compared with its own matrix.
    """
    choices = branches(case.kernel)
    results = []
    for beta in case.betas:
        if len(choices) == 1:
            steps = len(step_matrices(case.kernel, case.target, beta))
            points, trace = spread_run(case, steps, beta, draws, seed)
            matrix = transition_matrix(case.kernel, case.target, beta)
            results.append(_worst_row(case, matrix, points, end_points(case, trace)))
            continue
        size = len(joint_law(case.kernel, case.target))
        for branch in choices:
            points, end = run_until_branch(case, branch, beta, draws, seed)
            matrix = step_matrices(branch, case.target, beta)[0]
            lifted = torch.kron(matrix, torch.eye(size // len(matrix), dtype=torch.float64))
            results.append(_worst_row(case, lifted, points, end))
    return results


def check_ergodic(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T5: the exact matrix is primitive, and the target is reached from the worst start as fast as its gap promises."""
    if not case.ergodic:
        raise Skipped("the kernel does not claim to reach every state")
    law = joint_law(case.kernel, case.target)
    allowed = law > 0
    matrix = transition_matrix(case.kernel, case.target)[allowed][:, allowed]
    gap = spectral_gap(matrix) if bool(matrix.isfinite().all()) else 0.0
    if not is_primitive(matrix) or gap <= 0:
        return [Result("T5", case.name, math.inf, 0.0, f"not primitive, spectral gap {gap:.3g}")]
    rounds = max(1, math.ceil(math.log(REMAINDER) / math.log(max(1 - gap, REMAINDER))))
    steps = rounds * len(step_matrices(case.kernel, case.target))
    marginal = case.target.probabilities()
    worst = int(torch.where(marginal > 0, marginal, math.inf).argmin())
    chains = draws // 8  # a chain that has not forgotten is far off; k is what costs
    x0 = case.target.states[worst].expand(chains, -1)
    trace = case.driver(
        case.kernel, case.target.energy, x0, steps=steps, warmup=steps - 1, seed=seed, shard_size=chains, progress=False
    )
    end = case.target.index(trace.draws[:, -1])
    return [row_result("T5", case.name, end, marginal, f"spectral gap {gap:.3f}, steps {steps}", pooled=True)]


def _has_matrix(case: Case) -> bool:
    try:
        step_matrices(case.kernel, case.target)
    except MissingHook:
        return False
    return True


def row_result(
    test: str, name: str, seen: Tensor, law: Tensor, detail: str = "", *, alpha: float = ALPHA, pooled: bool = False
) -> Result:
    """Indices ``seen int64 [draws]`` against ``law [cells]``; ``pooled`` merges cells too rare for the draws."""
    counts = seen.bincount(minlength=len(law))
    if pooled:
        counts, law = pool(counts, law)
    return Result(test, name, kl_statistic(counts, law), kl_gate(int((law > 0).sum()), alpha), detail)


def _worst_row(case: Case, matrix: Tensor, start: Tensor, end: Tensor) -> Result:
    rows = [
        row_result("T4b", case.name, end[start == row], law, f"row {row}", alpha=ALPHA / len(matrix), pooled=True)
        for row, law in enumerate(matrix)
        if bool((start == row).any())
    ]
    return max(rows, key=lambda result: result.ratio)
