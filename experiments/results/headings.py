"""Which texts of a run are shown, and what is said above them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from experiments.declaration.wording import argument

__all__ = ["chains_heading", "draws_heading", "ranked", "search_heading"]


def chains_heading() -> tuple[str, str]:
    return "chain", f"text (the last draw of each chain; {argument('chains')} N for more)"


def draws_heading() -> tuple[str, str]:
    return "draw", f"text ({argument('chains')} N for more)"


def search_heading() -> tuple[str, str]:
    return "rank", "text (the best that the chains found, each once)"


def ranked(found: Iterable[tuple[float, str]]) -> Iterator[tuple[int, float, str]]:
    """Rank from 1, energy and text: each text once, the lowest energy first."""
    best: dict[str, float] = {}
    for energy, text in sorted(found, key=lambda pair: pair[0]):
        best.setdefault(text, energy)
    yield from ((rank, energy, text) for rank, (text, energy) in enumerate(best.items(), 1))
