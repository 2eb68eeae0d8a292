"""The battery: every test on every case, and on every mutant the tests that must reject it.

``python -m samplers.testing.battery [--seed N] [--draws N]`` prints one table of each; exit code 1 if a kernel fails
or a mutant passes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from samplers.testing.cases import CASES, MUTANTS, Case, Mutant
from samplers.testing.kernel_checks import TESTS, TITLES, run_test
from samplers.testing.report import Result, Skipped
from samplers.testing.simulate import DRAWS

__all__ = ["judge", "main", "rejections"]


def judge(case: Case, test: str, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """The results of one test on one case; none where it does not apply."""
    try:
        return run_test(case, test, seed, draws)
    except Skipped:
        return []


def rejections(mutant: Mutant, seed: int = 0, draws: int = DRAWS) -> dict[str, Result]:
    """For each test that must reject the mutant its worst result, which should have failed."""
    return {test: _worst(judge(mutant.case, test, seed, draws)) for test in mutant.rejected_by}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samplers.testing.battery", description="Prove the samplers.")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default 0)")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"chains of a law test (default {DRAWS})")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        f"Kernels, {options.draws} draws, seed {options.seed}: worst statistic as a share of its gate, below 1 passes"
    )
    print("\n".join(f"  {test:<4} {title}" for test, title in TITLES.items()) + "\n")
    print(_row("", list(TITLES), ""))
    failed = [case.name for case in CASES if not _print_case(case, options.seed, options.draws)]
    print("\nMutants: the tests that must reject each, statistic / gate\n")
    missed = [m.case.name for m in MUTANTS if not _print_mutant(m, options.seed, options.draws)]
    print(f"\n{len(CASES) - len(failed)} of {len(CASES)} kernels pass, ", end="")
    print(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} mutants are rejected")
    return 1 if failed or missed else 0


def _print_case(case: Case, seed: int, draws: int) -> bool:
    worst = [judge(case, test, seed, draws) for test in TESTS]
    passed = all(result.passed for results in worst for result in results)
    print(_row(case.name, [_cell(results) for results in worst], "ok" if passed else "FAIL"), flush=True)
    for result in (result for results in worst for result in results if not result.passed):
        print(f"    {result.test}: {result.detail}")
    return passed


def _print_mutant(mutant: Mutant, seed: int, draws: int) -> bool:
    found = rejections(mutant, seed, draws)
    rejected = not any(result.passed for result in found.values())
    cells = "  ".join(f"{test} {result.statistic:.3g}/{result.gate:.3g}" for test, result in found.items())
    print(f"{mutant.case.name:<26}{'rejected' if rejected else 'MISSED':<10}{cells}", flush=True)
    return rejected


def _worst(results: list[Result]) -> Result:
    return max(results, key=lambda result: result.ratio)


def _cell(results: list[Result]) -> str:
    if not results:
        return "-"
    return f"{_worst(results).ratio:.2f}"


def _row(name: str, cells: list[str], verdict: str) -> str:
    return f"{name:<26}" + "".join(f"{cell:>6}" for cell in cells) + f"  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
