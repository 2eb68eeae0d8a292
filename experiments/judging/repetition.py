"""How much texts repeat themselves, beside held-out text: the spectrum of their bigrams, and pairs that come again.

``python -m experiments.judging.repetition FILE`` prints the figures of a file with one text a line, perhaps gzipped.
"""

from __future__ import annotations

import gzip
import heapq
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["HELD_OUT_ENGLISH", "Repetition", "in_words", "repetition"]

T = TypeVar("T")
Pair = tuple[str, str]

WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
FREQUENT = 512  # words whose matrix is looked at
FEWEST = 1000  # words of all texts, below which nothing is said
END = ""


class Repetition(NamedTuple):
    """``lambda_1`` and ``mass`` of ``P o P``, ``P`` the bigrams of texts, and the ``share`` of repeated pairs.

    ``mass`` is the expected number of repeated runs, ``R = sum lambda / (1 - lambda)``, infinite from ``lambda_1 = 1``
    on. Su 2021, kexue.fm/archives/8128, after arXiv:2012.14660. ``share``: of the pairs of neighbouring words of a
    text, those that stand in it before.
    """

    lambda_1: float
    mass: float
    share: float


# python -m experiments.judging.repetition on the last 10,000 rows of tatoeba.eng.txt.gz, which no model was trained on.
HELD_OUT_ENGLISH = Repetition(0.035, 0.036, 0.0016)


def repetition(groups: Sequence[Sequence[str]], weights: Sequence[Sequence[float]] | None = None) -> Repetition | None:
    """Of the texts of each of ``groups``, which are independent: chains. ``None`` for too few words or one group.

    ``weights``: how much each text counts, by default 1.

    ``P_ij^2`` is estimated by pairs of bigrams of different groups, so that neither few texts nor draws of one chain,
    which are nearly copies of each other, seem to repeat. Words, and marks, are written small; only the ``FREQUENT``
    most frequent are looked at.
    """
    import torch

    pairs = [[_pairs(text) for text in texts] for texts in groups]
    if len(groups) < 2 or sum(len(text) for texts in pairs for text in texts) < FEWEST:
        return None
    weights = [[1.0] * len(texts) for texts in groups] if weights is None else weights
    bigrams = [_counted(texts, counts) for texts, counts in zip(pairs, weights, strict=True)]
    firsts = [_by_first(counts) for counts in bigrams]
    total = _added(firsts)
    number = {word: place for place, word in enumerate(heapq.nlargest(FREQUENT, total, key=total.__getitem__))}
    across, of_word = _across_groups(bigrams), _across_groups(firsts)
    matrix = torch.zeros(len(number), len(number), dtype=torch.float64)
    for (first, second), count in across.items():
        if first in number and second in number:
            matrix[number[first], number[second]] = count / of_word[first]
    eigenvalues = torch.linalg.eigvals(matrix)
    largest = float(eigenvalues.abs().max())
    mass = float((eigenvalues / (1 - eigenvalues)).real.sum()) if largest < 1 else math.inf
    return Repetition(largest, mass, _repeated_share(groups))


def in_words(found: Repetition) -> str:
    def said(each: Repetition) -> str:
        return f"{each.lambda_1:.3f}, {each.mass:.3f}, {100 * each.share:.1f}%"

    return f"lambda_1, R of word pairs, pairs again: {said(found)} (held-out English: {said(HELD_OUT_ENGLISH)})"


def _pairs(text: str) -> list[Pair]:
    words = WORD.findall(text.casefold())
    return list(zip(words, [*words[1:], END], strict=True))


def _counted(texts: Sequence[Sequence[Pair]], weights: Sequence[float]) -> dict[Pair, float]:
    found: dict[Pair, float] = defaultdict(float)
    for text, weight in zip(texts, weights, strict=True):
        for pair in text:
            found[pair] += weight
    return found


def _by_first(counts: Mapping[Pair, float]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for (first, _), count in counts.items():
        found[first] += count
    return found


def _added(counts: Sequence[Mapping[T, float]]) -> dict[T, float]:
    found: dict[T, float] = defaultdict(float)
    for each in counts:
        for thing, count in each.items():
            found[thing] += count
    return found


def _across_groups(counts: Sequence[Mapping[T, float]]) -> dict[T, float]:
    """Ordered pairs of the same thing from two different groups: ``(sum n)^2 - sum n^2``, where there are any."""
    squares = _added([{thing: count**2 for thing, count in each.items()} for each in counts])
    groups = Counter(thing for each in counts for thing in each)
    return {thing: count**2 - squares[thing] for thing, count in _added(counts).items() if groups[thing] > 1}


def _repeated_share(groups: Sequence[Sequence[str]]) -> float:
    from lm_adapters import repeated_ngrams

    counted = [repeated_ngrams(text, 2) for texts in groups for text in texts]
    return sum(again for again, _ in counted) / max(1, sum(pairs for _, pairs in counted))


def main(path: str) -> None:
    raw = Path(path).read_bytes()
    texts = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode().splitlines()
    print(repetition([[text] for text in texts]))


if __name__ == "__main__":
    main(sys.argv[1])
