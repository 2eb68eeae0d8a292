"""Words of a text kept at random, and the probability that a given sequence of words is what was kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations, permutations
from typing import NamedTuple

import torch
from torch import Tensor

from lm_adapters.locks.base import Lock
from lm_adapters.text import TextSpace
from lm_adapters.word_edges import JOINED, LETTER, MARKED

__all__ = ["KeptWords", "Word"]

Kept = tuple[tuple[int, ...], ...]
"""Words in the order in which a model reads them, each a run of tokens."""


class Word(NamedTuple):
    """A word that may be kept; one that is ``locked`` always is."""

    tokens: tuple[int, ...]
    locked: bool


class KeptWords:
    """Each word of a text is kept with probability ``keep``, one that a locked piece is in always.

    A word is a token with letters or digits and all that continue it (``lm_adapters.word_edges``): marks that stand by
    themselves belong to none. A mark that is locked counts as a word. Words are kept in the order of the text, or in a
    random one, all equally likely (``shuffled``).

    For ``n`` words that are not locked and ``c`` kept, ``K(c | x)`` is the sum, over the sets of words that spell ``c``
    and hold all locked ones, of ``keep^k (1 - keep)^(n - k)``, ``k`` of the set not locked: a count of embeddings of
    ``c`` in the text. In order it is a dynamic programme over words of the text and of ``c``. Shuffled, a set spells
    ``c`` in as many of its ``|c|!`` orders as ``c`` repeats itself, and there are as many sets as ways to choose, of
    each word's free occurrences, those that ``c`` has beyond the locked.
    """

    def __init__(self, space: TextSpace, keep: float, lock: Lock | None, shuffled: bool) -> None:
        self.space, self.keep, self.lock, self.shuffled = space, keep, lock, shuffled

    def words(self, x: Tensor) -> list[list[Word]]:
        """Of each text of ``x int64 [rows, width]``, in order."""
        after, _ = self.space.word_edges(x)
        heads = ~((after == LETTER) | (after == JOINED) | (after == MARKED))
        heads[:, 0] = True
        held = torch.zeros_like(x) if self.lock is None else self.lock.pieces(x)
        found = []
        for tokens, head, piece in zip(_rows(x, self.space), heads.tolist(), held.tolist(), strict=True):
            starts = [at for at in range(len(tokens)) if head[at]]
            words = []
            for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
                locked = any(piece[start:end])
                if locked or self._lettered[tokens[start]]:
                    words.append(Word(tuple(tokens[start:end]), locked))
            found.append(words)
        return found

    def draw(self, words: Sequence[Sequence[Word]], rng: torch.Generator) -> list[Kept]:
        """What is kept of each text."""
        most = max(map(len, words))
        luck, order = torch.rand((2, len(words), most), dtype=torch.float64, device=rng.device, generator=rng).tolist()
        kept = []
        for row, own in enumerate(words):
            places = [at for at, word in enumerate(own) if word.locked or luck[row][at] < self.keep]
            if self.shuffled:
                places.sort(key=order[row].__getitem__)
            kept.append(tuple(own[at].tokens for at in places))
        return kept

    def log_prob(self, kept: Sequence[Kept], words: Sequence[Sequence[Word]]) -> Tensor:
        """``float64 [rows]``: ``log K(kept | words)`` of each row; ``-inf`` where the text does not hold ``kept``."""
        if self.shuffled:
            rows = [self._shuffled_log_prob(*row) for row in zip(kept, words, strict=True)]
            return torch.tensor(rows, dtype=torch.float64)
        number: dict[tuple[int, ...], int] = {}
        own = [[number.setdefault(word.tokens, len(number)) for word in row] for row in words]
        wanted = _padded([[number.get(word, -2) for word in row] for row in kept], -1)
        spelt, locked = _padded(own, -3), _padded([[int(word.locked) for word in row] for row in words], 0).bool()
        chance = locked.double().masked_fill(~locked, self.keep)
        keep, leave = chance.log(), torch.log1p(-chance)
        # ``log_ways[:, j]``: that the words so far spell the first ``j`` kept ones.
        log_ways = torch.full((len(wanted), wanted.shape[1] + 1), -math.inf, dtype=torch.float64)
        log_ways[:, 0] = 0.0
        for at in range(spelt.shape[1]):
            same = spelt[:, at, None] == wanted
            taken = (log_ways[:, :-1] + keep[:, at, None]).where(same, -math.inf)
            left = log_ways + leave[:, at, None]
            after = torch.logaddexp(left, torch.nn.functional.pad(taken, (1, 0), value=-math.inf))
            log_ways = torch.where((spelt[:, at] >= 0).unsqueeze(1), after, log_ways)
        size = torch.tensor([[len(row)] for row in kept])
        return log_ways.gather(1, size).squeeze(1)

    def every(self, words: Sequence[Word]) -> Iterator[Kept]:
        """All that may be kept of a text, each once: two to the power of its words or more, for tests."""
        places, seen = range(len(words)), set()
        for size in range(len(words) + 1):
            for chosen in combinations(places, size):
                if all(at in chosen for at, word in enumerate(words) if word.locked):
                    seen.add(tuple(words[at].tokens for at in chosen))
        if self.shuffled:
            seen = {order for kept in seen for order in permutations(kept)}
        yield from sorted(seen)

    def _shuffled_log_prob(self, kept: Kept, words: Sequence[Word]) -> float:
        wanted = Counter(kept)
        locked = Counter(word.tokens for word in words if word.locked)
        free = Counter(word.tokens for word in words if not word.locked)
        beyond = {word: wanted[word] - locked[word] for word in {*wanted, *locked}}
        if any(not 0 <= count <= free[word] for word, count in beyond.items()):
            return -math.inf
        ways = math.prod(math.comb(free[word], count) for word, count in beyond.items())
        orders = math.factorial(len(kept)) // math.prod(map(math.factorial, wanted.values()))
        more = sum(beyond.values())
        chance = more * math.log(self.keep) + (free.total() - more) * math.log(1 - self.keep)
        return math.log(ways) - math.log(orders) + chance

    @cached_property
    def _lettered(self) -> list[bool]:
        """Of each token, whether it writes a letter or digit."""
        known = min(len(self.space.tokenizer), self.space.vocabulary)
        texts = self.space.after_word([[token] for token in range(known)])
        lettered = [any(char.isalnum() for char in text) for text in texts]
        return lettered + [False] * (self.space.vocabulary - known)


def _rows(x: Tensor, space: TextSpace) -> list[list[int]]:
    return [row[:length] for row, length in zip(x.tolist(), space.lengths(x).tolist(), strict=True)]


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(map(len, rows), default=0)
    padded = [[*row, *[value] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), width)
