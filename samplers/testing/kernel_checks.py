"""The tests of a kernel in one call, for kernels of this library and for yours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from samplers.kernels.hooks import MissingHook
from samplers.testing.cases import Case
from samplers.testing.contract import check_contract
from samplers.testing.invariances import check_independence, check_invariances
from samplers.testing.law_checks import check_end_law, check_ergodic, check_matrix, check_pairs, check_transitions
from samplers.testing.proposal_checks import PROPOSAL_TITLES, check_proposals
from samplers.testing.proposals import SiteProposal, dirichlet_table
from samplers.testing.report import Report, Result, Skipped
from samplers.testing.simulate import DRAWS
from samplers.testing.targets import Enumerated, random_target
from samplers.types import Kernel, Proposal

__all__ = ["TESTS", "TITLES", "check_kernel", "run_test"]

Check = Callable[[Case, int, int], list[Result]]

TESTS: dict[str, Check] = {
    "T0": check_contract,
    "T1": check_proposals,
    "T2": check_matrix,
    "T3": check_end_law,
    "T4": check_pairs,
    "T4b": check_transitions,
    "T5": check_ergodic,
    "T8": check_independence,
    "T11": check_invariances,
}
"""Each test as ``check(case, seed, draws)``; one that does not apply to a case raises ``Skipped``."""

TITLES = {
    "T0": "contract: shapes, types, nothing written in place, cached energies, energy calls",
    "T1": "proposal: densities sum to 1, are those returned, and those of the draws",
    "T2": "exact transition matrix: leaves the law invariant, in detailed balance",
    "T3": "law of the end states of chains started exactly",
    "T4": "from an exact start, steps i to j are as frequent as steps j to i",
    "T4b": "observed steps follow the exact matrix",
    "T5": "ergodic: primitive matrix, and the law is reached from the worst start",
    "T8": "chains are independent of each other",
    "T11": "a constant energy, one rung or a cycle of one changes no draw; at beta = inf energies never rise",
}


def check_kernel(
    kernel: Kernel | Callable[[Proposal], Kernel],
    target: Enumerated | None = None,
    *,
    reversible: bool = True,
    ergodic: bool = True,
    betas: Sequence[float] = (1.0, 0.3, 0.0),
    seed: int = 0,
    draws: int = DRAWS,
) -> Report:
    """Prove that a kernel samples ``exp(-beta * energy)``, on targets whose law is known exactly::

        check_kernel(Barker)                               # a class, or a function: given a proposal, a kernel
        check_kernel(Barker(MyProposal()), my_target)      # a kernel, and the target that its proposal is for
        check_kernel(MyGibbs(4))                           # a kernel for 3 sites of the values 0 to 3
        print(check_kernel(Barker))                        # what ran, what was skipped and why

    Main arguments
        ``kernel``; ``target``, any energy over a list of states: ``Enumerated(states, energy)``. Without one a kernel
        is given ``random_target(4, 3)``, states ``int64 [chains, 3]`` of the values 0 to 3; a class also a target
        with forbidden states, and for each a strongly asymmetric proposal.
    Other arguments
        ``reversible``: its first step claims detailed balance. ``ergodic``: it reaches every state that the target
        allows. ``betas``: where it claims to be exact. ``draws``: chains of a test of a law. A correct kernel fails
        a test with a probability below 1e-9 for a new ``seed``, and never once it has passed with that seed.

    A kernel with the optional methods of ``samplers.kernels.hooks``, ``step_matrix`` and ``cost``, is also proved
    exactly, to 1e-12; without them the same laws are tested by simulation and the report says what was skipped.

    Raises ``BatteryFailed``, an ``AssertionError`` whose message is the report, when a test fails; ``InvalidTest``
    when ``draws`` are too few to see anything; and whatever the kernel raises.
    """
    results: list[Result] = []
    skipped: dict[str, str] = {}
    name = ""
    for built, space in _subjects(kernel, target):
        name = type(built).__name__
        case = Case(_label(space), built, space, reversible, ergodic, tuple(betas))
        for test in TESTS:
            try:
                results += run_test(case, test, seed, draws)
            except Skipped as reason:
                skipped[test] = str(reason)
    return Report(name, results, skipped, TITLES | PROPOSAL_TITLES).checked()


def run_test(case: Case, test: str, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """The results of one test on one case. Raises ``Skipped``."""
    try:
        return TESTS[test](case, seed, draws)
    except MissingHook as missing:
        raise Skipped(str(missing)) from missing


def _subjects(
    kernel: Kernel | Callable[[Proposal], Kernel], target: Enumerated | None
) -> Iterator[tuple[Kernel, Enumerated]]:
    """A kernel for each target."""
    main = random_target(4, 3, seed=1953210663)
    if hasattr(kernel, "step") and not isinstance(kernel, type):
        yield cast(Kernel, kernel), main if target is None else target
        return
    make = cast(Callable[[Proposal], Kernel], kernel)
    for space in [main, random_target(3, 3, seed=2004911389, forbidden=5)] if target is None else [target]:
        values, sites = int(space.states.max()) + 1, space.states.shape[1]
        yield make(SiteProposal(dirichlet_table(sites, values, values, seed=13))), space


def _label(space: Enumerated) -> str:
    forbidden = int((space.energies == math.inf).sum())
    return f"{len(space)} states" + (f", {forbidden} of them forbidden" if forbidden else "")
