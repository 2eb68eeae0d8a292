"""Every error that the library raises on purpose.

::

    McmcTextError
    ├── InvalidInput      (also ValueError)  an unusable argument: says which, where, and what to do
    │   └── FolderInUse   another process works in the run's folder
    ├── EnergyError       an energy raised, or returned NaN, -inf or the wrong shape: carries rows, states and term
    ├── TooManyNaN        too many of the scored rows were NaN to reject them
    ├── OutOfMemory       a forward pass of a single row does not fit in memory
    ├── ProposalError     a proposal returned NaN, the wrong shape, or changed what it must not change
    ├── BoundViolated     rejection sampling met a point above its bound: carries the point and the excess
    ├── PopulationDied    too few draws of a population had descendants: its estimates would be worthless
    ├── Interrupted       a run stopped on SIGINT, SIGTERM or SIGHUP, after a commit: carries it
    ├── StoreError        a file of a run's folder cannot be written, or is damaged
    └── TrialsExhausted   rejection sampling ran out of trials: carries the draws so far
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BoundViolated",
    "EnergyError",
    "FolderInUse",
    "Interrupted",
    "InvalidInput",
    "McmcTextError",
    "OutOfMemory",
    "PopulationDied",
    "ProposalError",
    "StoreError",
    "TooManyNaN",
    "TrialsExhausted",
]

SHOWN = 5  # rows named in a message


class McmcTextError(Exception):
    """Base of all errors below."""


class InvalidInput(McmcTextError, ValueError):
    """An argument is unusable; the message is one line that names it, its value and the remedy."""


class FolderInUse(InvalidInput):
    """Another process holds the lock of a run's folder."""


class EnergyError(McmcTextError):
    """An energy raised, or returned something that is no energy.

    ``term`` is the name of the term at fault, ``rows`` are the chains (before a run: rows of the batch scored), and
    ``x`` their states. ``nan``: those rows are NaN, and nothing else is wrong. ``where`` is ``file:line: source`` of
    the user's own function, ``remedy`` what helps, ``step`` the step (-1: the start), ``texts`` the decoded states, and
    ``saved`` the name of a file that holds them; each is empty where it is not known.
    """

    def __init__(
        self,
        problem: str,
        *,
        term: str,
        rows: Sequence[int] = (),
        x: Tensor | None = None,
        nan: bool = False,
        where: str | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem, self.term, self.rows, self.x = problem, term, list(rows), x
        self.nan, self.where, self.remedy = nan, where, remedy
        self.step: int | None = None
        self.texts: list[str] = []
        self.saved: str | None = None

    def __str__(self) -> str:
        rows = f" (chain {_some(list(dict.fromkeys(self.rows)))})" if self.rows else ""
        step = "" if self.step is None else " at the start" if self.step < 0 else f" at step {self.step}"
        texts = f": {_some([repr(text) for text in self.texts])}" if self.texts else ""
        where = f" [{self.where}]" if self.where else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        saved = f"; the texts are in {self.saved!r}" if self.saved else ""
        return f"energy {self.term!r} {self.problem}{step}{rows}{texts}{where}{remedy}{saved}"


class TooManyNaN(McmcTextError):
    """More NaN than ``nan="reject"`` allows: rejecting them all would hide a broken energy."""


class OutOfMemory(McmcTextError):
    """A forward pass of one row does not fit in memory, and cannot be split further."""


class ProposalError(McmcTextError):
    """A proposal broke its contract: see ``Proposal`` and ``Proposed``."""


class BoundViolated(McmcTextError):
    """``exp(-energy) / q`` exceeded the bound: the draws would not follow the target.

    ``x`` is the worst point of the batch, ``excess`` the number of nats by which it exceeds the bound.
    """

    def __init__(self, x: Tensor, excess: float) -> None:
        self.x, self.excess = x, excess
        super().__init__(
            f"the bound is too small by {excess:.6g} nats at x = {_short(x)}; raise log_bound by at least that much"
        )


class Interrupted(McmcTextError):
    """A run stopped on a signal, after a commit; the same call with the same folder resumes it after ``done`` steps.

    ``progress`` and ``how_to_resume`` are the two parts of the message; a caller that knows more may replace them.
    """

    def __init__(self, signal: int, folder: Path, done: int) -> None:
        super().__init__(signal, folder, done)
        self.signal, self.folder, self.done = signal, folder, done
        self.progress = f"stopped after {done} steps"
        self.how_to_resume = f"they are kept in {str(folder)!r}; resume with the same call"

    def __str__(self) -> str:
        return f"{self.progress}; {self.how_to_resume}"


class PopulationDied(McmcTextError):
    """All particles of a population descend from too few draws: its estimates would be worth nothing."""


class StoreError(McmcTextError):
    """A file of a run's folder cannot be written or read; the message names it. Earlier commits stay valid."""


class TrialsExhausted(McmcTextError):
    """``max_trials`` trials gave too few draws; ``result`` holds those."""

    def __init__(self, message: str, result: Any) -> None:
        self.result = result
        super().__init__(message)


def _some(items: Sequence[object]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def _short(x: Tensor) -> str:
    flat = x.flatten().tolist()
    text = ", ".join(f"{v:.6g}" if x.is_floating_point() else str(v) for v in flat[:8])
    return f"[{text}{', ...' if len(flat) > 8 else ''}]"
