"""Tests of laws: T2 exact matrices, T3 end states, T4 pairs, T4b transitions, T5 ergodicity.

Chains start from exact draws of the target, so their end states are independent exact draws under a correct kernel
however slowly it mixes: no effective sample size, no burn-in. Gandy & Scott 2020, arXiv:2001.06465.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.compose import Mixture
from samplers.errors import InvalidInput
from samplers.randomness import generator
from samplers.tempering import Tempered
from samplers.testing.cases import Case
from samplers.testing.chains import detailed_balance_error, invariance_error, is_primitive, spectral_gap
from samplers.testing.gates import ALPHA, Result, kl_gate, kl_statistic, pair_gate, pair_statistic, pool
from samplers.testing.matrices import period, step_matrix, transition_matrix
from samplers.testing.spaces import Started, joint_index, joint_law, joint_states
from samplers.trace import Trace
from samplers.types import Kernel

__all__ = ["DRAWS", "check_end_law", "check_ergodic", "check_matrix", "check_pairs", "check_transitions", "row_result"]

DRAWS = 2**16
STEPS = 32
EXACT = 1e-12
REMAINDER = 1e-4  # of the slowest mode at the end of T5


class _Run(NamedTuple):
    """Indices ``int64 [chains]`` of the states at the start, after one step, and after all."""

    start: Tensor
    first: Tensor
    last: Tensor


def check_matrix(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T2: rows add up to 1, the law is invariant, detailed balance holds where claimed; each step, each beta."""
    worst = 0.0
    for beta in case.betas:
        law = joint_law(case.kernel, case.target, beta)
        for turn in range(period(case.kernel, case.target)):
            matrix = step_matrix(case.kernel, case.target, beta, turn)
            worst = max(worst, float((matrix.sum(dim=1) - 1).abs().max()), invariance_error(matrix, law))
            if case.reversible and turn == 0:
                worst = max(worst, detailed_balance_error(matrix, law))
    return [Result("T2", case.name, worst, EXACT)]


def check_end_law(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T3: after 1 and 32 steps from exact draws the states follow the target."""
    run = _exact_run(case, draws, seed)
    law = case.target.probabilities()
    return [row_result("T3", case.name, rows, law, f"k={k}") for k, rows in ((1, run.first), (STEPS, run.last))]


def check_pairs(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T4: moves ``i -> j`` and ``j -> i`` are equally frequent from an exact start, if the kernel is reversible."""
    if not case.reversible:
        return []
    run, size = _exact_run(case, draws, seed), len(case.target)
    if len(run.start) != len(run.first):
        return []
    counts = (run.start * size + run.first).bincount(minlength=size**2).reshape(size, size)
    return [Result("T4", case.name, pair_statistic(counts), pair_gate(size))]


def check_transitions(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T4b: transitions that happen against the exact matrix, row by row: the code that runs is what was proved.

    A Mixture draws one part for all chains of a step, so each part is compared with its own matrix.
    """
    given = _given_part(case.kernel)
    results = []
    for beta in case.betas:
        if len(given) == 1:
            steps = period(case.kernel, case.target)
            points, trace = _spread_run(case, steps, beta, draws, seed)
            matrix = transition_matrix(case.kernel, case.target, beta)
            results.append(_worst_row(case, matrix, points, _end(case, trace)))
            continue
        size = len(joint_law(case.kernel, case.target))
        for part in given:
            points, end = _until_part(case, part, beta, draws, seed)
            matrix = step_matrix(part, case.target, beta, 0)
            lifted = torch.kron(matrix, torch.eye(size // len(matrix), dtype=torch.float64))
            results.append(_worst_row(case, lifted, points, end))
    return results


def check_ergodic(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T5: the chain reaches everything, and from the worst start forgets it in the time that its matrix promises."""
    if not case.ergodic:
        return []
    law = joint_law(case.kernel, case.target)
    allowed = law > 0
    matrix = transition_matrix(case.kernel, case.target)[allowed][:, allowed]
    gap = spectral_gap(matrix)
    if not is_primitive(matrix) or gap <= 0:
        return [Result("T5", case.name, math.inf, 0.0, f"not primitive, spectral gap {gap:.3g}")]
    rounds = max(1, math.ceil(math.log(REMAINDER) / math.log(max(1 - gap, REMAINDER))))
    steps = rounds * period(case.kernel, case.target)
    marginal = case.target.probabilities()
    worst = int(torch.where(marginal > 0, marginal, math.inf).argmin())
    chains = draws // 8  # a chain that has not forgotten is far off; k is what costs
    x0 = case.target.states[worst].expand(chains, -1)
    trace = case.driver(
        case.kernel, case.target.energy, x0, steps=steps, warmup=steps - 1, seed=seed, shard_size=chains, progress=False
    )
    end = case.target.index(trace.draws[:, -1])
    return [row_result("T5", case.name, end, marginal, f"gap {gap:.3f}, k={steps}", pooled=True)]


def row_result(
    test: str, name: str, seen: Tensor, law: Tensor, detail: str = "", *, alpha: float = ALPHA, pooled: bool = False
) -> Result:
    """Indices ``seen int64 [draws]`` against ``law [cells]``; ``pooled`` merges cells too rare for the draws."""
    counts = seen.bincount(minlength=len(law))
    if pooled:
        counts, law = pool(counts, law)
    return Result(test, name, kl_statistic(counts, law), kl_gate(int((law > 0).sum()), alpha), detail)


@cache
def _exact_run(case: Case, draws: int, seed: int) -> _Run:
    rng = generator(seed, 1)
    points = torch.multinomial(joint_law(case.kernel, case.target), draws, replacement=True, generator=rng)
    trace = _run_from(case, points, STEPS, 1.0, seed)
    start = points // (len(joint_law(case.kernel, case.target)) // len(case.target))
    return _Run(start, case.target.index(trace.draws[:, 0]), case.target.index(trace.draws[:, -1]))


def _run_from(case: Case, points: Tensor, steps: int, beta: float, seed: int) -> Trace:
    x0, hot = joint_states(case.kernel, case.target, points)
    kernel = Started(case.kernel, hot, beta)
    return case.driver(kernel, case.target.energy, x0, steps=steps, seed=seed, shard_size=len(x0), progress=False)


def _spread_run(case: Case, steps: int, beta: float, draws: int, seed: int) -> tuple[Tensor, Trace]:
    """As many chains from every point of the joint space."""
    size = len(joint_law(case.kernel, case.target))
    points = torch.arange(size).repeat_interleave(max(draws // size, 256))
    return points, _run_from(case, points, steps, beta, seed)


def _end(case: Case, trace: Trace) -> Tensor:
    return joint_index(case.kernel, case.target, trace.draws[:, -1], trace.final[0])


def _worst_row(case: Case, matrix: Tensor, start: Tensor, end: Tensor) -> Result:
    rows = [
        row_result("T4b", case.name, end[start == row], law, f"row {row}", alpha=ALPHA / len(matrix), pooled=True)
        for row, law in enumerate(matrix)
        if bool((start == row).any())
    ]
    return max(rows, key=lambda result: result.strain)


def _given_part(kernel: Kernel) -> list[Kernel]:
    """What the kernel is in a step in which its Mixture drew its first part, its second, ...; itself without one."""
    if isinstance(kernel, Mixture):
        return list(kernel.parts)
    if isinstance(kernel, Tempered):
        return [Tempered(inner, kernel.betas, swap_every=kernel.swap_every) for inner in _given_part(kernel.kernel)]
    return [kernel]


def _until_part(case: Case, part: Kernel, beta: float, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """A one-step run whose step, as the kinds of its moves tell, was one of ``part``."""
    for attempt in range(1000 * seed, 1000 * seed + 1000):
        points, trace = _spread_run(case, 1, beta, draws, attempt)
        if {kind for kind, move in trace.moves.items() if move.tried} <= set(part.kinds):
            return points, _end(case, trace)
    raise InvalidInput(f"a part of {case.name!r} was never drawn, or its kinds are those of another part")
