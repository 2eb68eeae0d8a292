"""``nan="reject"``: NaN energies forbid a state instead of ending the run, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from samplers.errors import TooManyNaN

__all__ = ["NaNCount", "NaNPolicy"]

NaNPolicy = Literal["raise", "reject"]

MOST = 0.01  # of the rows scored
ENOUGH = 1000  # rows from which a rate of 1 % can be estimated: ten NaN are always allowed


@dataclass
class NaNCount:
    """Rows scored in the steps of a run, and how many of them were NaN.

    A row is counted once, at the first term that is no constraint: ``rows`` are those that the constraints allow. It
    is NaN at most once, as terms after the first NaN are skipped.
    """

    rows: int = 0
    nan: int = 0

    def add(self, nan: Tensor, term: str, *, first: bool, real: Tensor | None = None) -> None:
        """Count a call of ``term``: ``nan bool [rows]``, of which only those that are ``real`` count (default: all).

        ``first``: this is the term whose rows are counted. Raises ``TooManyNaN`` above 1 % of the rows, taken to be at
        least 1,000.
        """
        self.rows += first * (len(nan) if real is None else int(real.sum()))
        self.nan += int((nan if real is None else nan & real).sum())
        if self.nan > MOST * max(self.rows, ENOUGH):
            raise TooManyNaN(
                f"{self.nan} of {self.rows} rows were NaN, most recently in energy {term!r}; to reject more than "
                f'{MOST:.0%} would hide an error: run with nan="raise" to see the first of them'
            )
