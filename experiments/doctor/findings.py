"""What an examination finds: each with a remedy, and the texts that show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from experiments.results.columns import cut, fold, terminal_width
from experiments.results.safe_text import visible

__all__ = ["Examination", "Finding", "Level"]

Level = Literal["ok", "note", "warning", "error"]
INDENT = " " * 21
SHOWN, LONGEST = 3, 70  # texts of a finding, and characters of each


@dataclass(frozen=True)
class Finding:
    """``check``: what was looked at. A finding that is not ``ok`` says in ``remedy`` what to do."""

    level: Level
    check: str
    what: str
    remedy: str = ""
    texts: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        """As the terminal shows it, with nothing in it that acts there."""
        width = terminal_width()
        first, *more = fold(visible(" ".join(self.what.split())), width and width - len(INDENT))
        yield f"  {self.level:<7}  {self.check:<9}  {first}"
        yield from (INDENT + line for line in more)
        for text in self.texts[:SHOWN]:
            shown = visible(repr(text) if len(text) <= LONGEST else f"{text[:LONGEST]!r}...")
            yield INDENT + cut(f"text: {shown}", width and width - len(INDENT))
        if len(self.texts) > SHOWN:
            yield f"{INDENT}and {len(self.texts) - SHOWN} more texts"
        if self.remedy:
            yield from (INDENT + line for line in fold(f"remedy: {self.remedy}", width and width - len(INDENT)))


@dataclass
class Examination:
    """The findings on the energy ``name``, in the order in which they were made."""

    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        return [each for each in self.findings if each.level == "error"]

    @property
    def is_well(self) -> bool:
        """Whether there is no error; warnings may be what was meant."""
        return not self.errors

    def __str__(self) -> str:
        return "\n".join(line for each in self.findings for line in each.lines())

    def verdict(self) -> str:
        counts = [sum(each.level == level for each in self.findings) for level in ("error", "warning")]
        said = [
            f"{count or 'no'} {word}{'s' * (count != 1)}"
            for count, word in zip(counts, ("error", "warning"), strict=True)
        ]
        return f"{' and '.join(said)} in {visible(self.name)}"
