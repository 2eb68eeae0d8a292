"""What a test says: a result against its gate, why it was skipped, and the report of many tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from samplers.errors import McmcTextError

__all__ = ["BatteryFailed", "Report", "Result", "Skipped"]


@dataclass(frozen=True)
class Result:
    """One verdict: ``statistic`` must not exceed ``gate``; exact tests count violations against a gate of 0."""

    test: str
    case: str
    statistic: float
    gate: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.statistic <= self.gate  # NaN fails

    @property
    def ratio(self) -> float:
        """The statistic as a share of the gate, which orders the results of one test; infinite above a gate of 0."""
        if self.passed:
            return self.statistic / self.gate if self.gate > 0 else 0.0
        return self.statistic / self.gate if self.gate > 0 and math.isfinite(self.statistic) else math.inf

    def __str__(self) -> str:
        figures = f"{self.statistic:.4g} {'within' if self.passed else 'above'} {self.gate:.4g}"
        return f"{self.case}: {figures}" + (f" ({self.detail})" if self.detail else "")


class Skipped(Exception):
    """A test does not apply to a case; the message says why."""


@dataclass(frozen=True)
class Report:
    """The results of every test that ran, and for every test that did not the reason.

    ``print(report)`` shows one line a test, and each failure with its figures; iterating gives the results.
    """

    subject: str
    results: Sequence[Result]
    skipped: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if not result.passed]

    @property
    def passed(self) -> bool:
        return not self.failures

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __str__(self) -> str:
        ran = dict.fromkeys(result.test for result in self.results)
        failed = {result.test for result in self.failures}
        counts = f"{len(ran) - len(failed)} tests passed, {len(failed)} failed, {len(self.skipped)} skipped"
        lines = [f"{self.subject}: {counts}"]
        for test in ran:
            lines.append(f"  {'FAILED' if test in failed else 'passed':<8}{self._title(test)}")
            for result in self.results:
                if result.test == test and (not result.passed or result.detail):
                    lines.append(f"    {result}")
        lines += [f"  skipped {self._title(test)}\n    {reason}" for test, reason in self.skipped.items()]
        return "\n".join(lines)

    def checked(self) -> Report:
        """The report itself. Raises ``BatteryFailed`` unless every test that ran passed."""
        if not self.passed:
            raise BatteryFailed(self)
        return self

    def _title(self, test: str) -> str:
        return f"{test}: {self.titles[test]}" if test in self.titles else test


class BatteryFailed(McmcTextError, AssertionError):
    """A kernel, proposal or energy failed a test. ``report`` has the results; the message is its text."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))
