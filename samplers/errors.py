"""Every error that the library raises on purpose.

::

    McmcTextError
    ├── InvalidInput      (also ValueError)  an argument that cannot mean anything: says what, where, what to do
    ├── EnergyError       an energy raised, or returned NaN, -inf or the wrong shape: carries rows, states and term
    ├── TooManyNaN        more of the scored rows were NaN than are borne
    ├── OutOfMemory       a single row of a scorer does not fit in memory
    ├── ProposalError     a proposal returned NaN, the wrong shape, or changed what it must not change
    ├── BoundViolated     rejection sampling met a point above its bound: carries the point and the excess
    ├── Interrupted       SIGINT or SIGTERM came, and what was done is committed: carries the signal
    ├── StoreError        a file of a run's folder cannot be written, or is not what was written
    └── TrialsExhausted   rejection sampling ran out of trials: carries the draws it has
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "BoundViolated",
    "EnergyError",
    "Interrupted",
    "InvalidInput",
    "McmcTextError",
    "OutOfMemory",
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


class EnergyError(McmcTextError):
    """An energy cannot be used for a step.

    ``rows`` are the indices in the batch that was scored, ``x`` the states at those rows, ``term`` the name of the
    term at fault. ``nan``: those rows are NaN, and nothing else is wrong. ``where`` is ``file:line: source`` of the
    user's own function. ``sample`` fills in ``step``; whoever can decode states fills in ``texts``, and whoever keeps
    these in a file its name, ``saved``.
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
    ) -> None:
        super().__init__(problem)
        self.problem, self.term, self.rows, self.x = problem, term, list(rows), x
        self.nan, self.where = nan, where
        self.step: int | None = None
        self.texts: list[str] = []
        self.saved: str | None = None

    def __str__(self) -> str:
        rows = f" (chain {_some(list(dict.fromkeys(self.rows)))})" if self.rows else ""
        step = "" if self.step is None else " at the start" if self.step < 0 else f" at step {self.step}"
        texts = f": {_some([repr(text) for text in self.texts])}" if self.texts else ""
        where = f" [{self.where}]" if self.where else ""
        saved = f"; the texts are kept in {self.saved!r}" if self.saved else ""
        return f"energy {self.term!r} {self.problem}{step}{rows}{texts}{where}{saved}"


class TooManyNaN(McmcTextError):
    """``nan="reject"`` met NaN too often: rejected one by one they would hide a broken energy."""


class OutOfMemory(McmcTextError):
    """A pass of one row does not fit in memory, so there is nothing left to split."""


class ProposalError(McmcTextError):
    """A proposal broke its contract."""


class BoundViolated(McmcTextError):
    """``exp(-energy) / q`` exceeded the bound: the draws would not follow the target.

    ``x`` is the worst point of the batch, ``excess`` the nats by which it lies above the bound.
    """

    def __init__(self, x: Tensor, excess: float) -> None:
        self.x, self.excess = x, excess
        super().__init__(
            f"the bound is too small by {excess:.6g} nats at x = {_short(x)}; raise log_bound by at least that much"
        )


class Interrupted(McmcTextError):
    """A run stopped because it was asked to; running it again in the same folder goes on from ``done`` steps.

    Whoever knows more of the run says better how far it came, ``progress``, and how to go on, ``way_on``.
    """

    def __init__(self, signal: int, folder: Path, done: int) -> None:
        super().__init__(signal, folder, done)
        self.signal, self.folder, self.done = signal, folder, done
        self.progress = f"stopped after {done} steps"
        self.way_on = f"they are kept in {str(folder)!r}, where the same call goes on"

    def __str__(self) -> str:
        return f"{self.progress}; {self.way_on}"


class StoreError(McmcTextError):
    """A file of a run's folder cannot be written or read; the message names it. What was committed before holds."""


class TrialsExhausted(McmcTextError):
    """``max_trials`` proposals gave too few draws; ``result`` holds those there are."""

    def __init__(self, message: str, result: Any) -> None:
        self.result = result
        super().__init__(message)


def _some(items: Sequence[object]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def _short(x: Tensor) -> str:
    flat = x.flatten().tolist()
    text = ", ".join(f"{v:.6g}" if torch.is_floating_point(x) else str(v) for v in flat[:8])
    return f"[{text}{', ...' if len(flat) > 8 else ''}]"
