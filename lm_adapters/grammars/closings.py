"""How few tokens close the beginning of a text to a match, found by trying."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_adapters.grammars.engine import Automaton

__all__ = ["Closings"]

DEEP = 64  # tokens of the beginnings that are explored
WAYS = 2  # pieces that lead to one look, of each beginning
HISTORY = 4  # last looks by which they are told apart
CLOSINGS = 32  # kept of beginnings that look the same, the shortest
TRIED = 48  # closings, until one closes a beginning
KEPT = 50_000  # beginnings whose closing is kept for the next time

Kind = tuple[bool, bytes]  # whether a text has begun, and how it looks


class _Closing(NamedTuple):
    tokens: int
    text: bytes


class _Beginning(NamedTuple):
    """A ``text``, how it looks, and of what may follow one piece for each look to which it leads, with that look."""

    text: bytes
    look: bytes
    ways: list[tuple[bytes, bytes]]


class Closings:
    """What closes a beginning, the shortest in tokens that trying has found; a function of the grammar alone.

    ``automaton`` reads ``pieces``, what tokens write: a text begins with one of ``first`` and goes on with those of
    ``later``, ``bool [pieces]``. Beginnings are explored up to 64 tokens; of those that look the same after as many
    tokens (the same bytes may follow, and the same end) one stands for all. What closes it is tried on every beginning
    that looks like it. What is said to close a beginning does close it; there may be something shorter, and where
    nothing is said, anything.

    Cost: once, about one reading for each piece and look; grammars have some dozens. Then one for each closing tried.
    """

    def __init__(
        self, automaton: Automaton, pieces: Sequence[bytes], first: NDArray[np.bool_], later: NDArray[np.bool_]
    ) -> None:
        self._automaton, self._pieces, self._places = automaton, pieces, (first, later)
        self._leads: dict[Kind, NDArray[np.int32]] = {}
        self._known: dict[bytes, list[_Closing]] = {}
        self._rises: dict[Kind, float] = {}
        self._needed: OrderedDict[bytes, int | None] = OrderedDict()
        layers = self._explored()
        self._close(layers)
        self._measure(layers)

    def needed(self, text: bytes) -> int | None:
        """The fewest tokens that are known to make ``text`` a match; ``None`` where none are known."""
        if text in self._needed:
            self._needed.move_to_end(text)
            return self._needed[text]
        found = self._first(text, self._known.get(self._automaton.look(text), []))
        self._needed[text] = None if found is None else found.tokens
        if len(self._needed) > KEPT:
            self._needed.popitem(last=False)
        return self._needed[text]

    def fitting(self, text: bytes, room: int) -> NDArray[np.bool_]:
        """``bool [pieces]``: what may follow ``text``, but for that after which more than ``room`` tokens are needed.

        Pieces that lead to beginnings of one look are judged by one of them.
        """
        allowed, _ = self._automaton.after(text)
        kind = bool(text), self._automaton.look(text)
        if kind not in self._leads:
            return allowed
        needed = self.needed(text)
        if needed is not None and needed + self._rises[kind] <= room:
            return allowed
        leads = self._leads[kind]
        for number in np.unique(leads[allowed]):
            members = allowed & (leads == number)
            count = self.needed(text + self._pieces[int(members.argmax())]) if number >= 0 else None
            if count is not None and count > room:
                allowed &= ~members
        return allowed

    def _explored(self) -> list[list[_Beginning]]:
        """For each number of tokens one beginning of each way to look, and to have looked before.

        Up to where as many tokens before there were the same ways: what comes then goes round in a circle.
        """
        layer: dict[tuple[bytes, ...], bytes] = {(self._automaton.look(b""),): b""}
        layers: list[list[_Beginning]] = []
        seen: set[frozenset[tuple[bytes, ...]]] = set()
        while layer and len(layers) < DEEP and frozenset(layer) not in seen:
            seen.add(frozenset(layer))
            longer: dict[tuple[bytes, ...], bytes] = {}
            layers.append([])
            for history, text in layer.items():
                ways = list(self._ways(text, history[-1]))
                layers[-1].append(_Beginning(text, history[-1], ways))
                for piece, look in ways:
                    longer.setdefault((*history, look)[-HISTORY:], text + piece)
            layer = longer
        return layers

    def _ways(self, text: bytes, look: bytes) -> Iterator[tuple[bytes, bytes]]:
        kind = bool(text), look
        allowed = np.flatnonzero(self._automaton.after(text)[0] & self._places[bool(text)])
        if kind not in self._leads:
            numbers: dict[bytes, int] = {}
            leads = np.full(len(self._pieces), -1, dtype=np.int32)
            for index in allowed.tolist():
                after = self._automaton.look(text + self._pieces[index])
                leads[index] = numbers.setdefault(after, len(numbers))
            self._leads[kind] = leads
        leads = self._leads[kind][allowed]
        for number in np.unique(leads):
            for index in allowed[leads == number][:WAYS].tolist():
                yield self._pieces[index], self._automaton.look(text + self._pieces[index])

    def _close(self, layers: list[list[_Beginning]]) -> None:
        """Find closings of what was explored, the longest beginnings first: what closes them closes others."""
        for begun in (begun for layer in reversed(layers) for begun in layer):
            known = self._known.setdefault(begun.look, [])
            longer = (
                _Closing(1 + after.tokens, piece + after.text)
                for piece, look in begun.ways
                for after in self._known.get(look, [])
            )
            found = self._first(begun.text, {_Closing(0, b""), *known, *longer})
            if found is not None and found not in known:
                self._known[begun.look] = sorted([*known, found])[:CLOSINGS]

    def _first(self, text: bytes, closings: Iterable[_Closing]) -> _Closing | None:
        tried = sorted(closings)[:TRIED]
        return next((each for each in tried if self._automaton.is_match(text + each.text)), None)

    def _measure(self, layers: list[list[_Beginning]]) -> None:
        """By how much one token can raise the tokens needed, as far as was explored; infinite where it is not known."""
        for begun in (begun for layer in layers for begun in layer):
            needed, kind = self.needed(begun.text), (bool(begun.text), begun.look)
            after = [self.needed(begun.text + piece) for piece, _ in begun.ways]
            rise = max((math.inf if needed is None or each is None else each - needed for each in after), default=0)
            self._rises[kind] = max(rise, self._rises.get(kind, 0))
