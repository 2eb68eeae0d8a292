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


_Closing = tuple[bytes, ...]  # pieces


class _Beginning(NamedTuple):
    """A ``text``, how it looks, and of what may follow pieces for each look to which they lead, with that look."""

    text: bytes
    look: bytes
    ways: list[tuple[_Closing, bytes]]


class Closings:
    """What closes a beginning, the shortest in tokens that trying has found; a function of the grammar alone.

    ``automaton`` reads ``pieces``, what tokens write: a text begins with one of ``first`` and goes on with those of
    ``later``, ``bool [pieces]``. Beginnings are explored up to 64 tokens; of those that look the same after as many
    tokens (the same bytes may follow, and the same end) one stands for all. What closes it is tried on every beginning
    that looks like it. A word that must come somewhere in a run of any letters is not seen by that: such ``words`` are
    tried as well, each with those after it. What is said to close a beginning does close it; there may be something
    shorter, and where nothing is said, anything.

    Cost: once, about one reading for each piece and look; grammars have some dozens. Then one for each closing tried.
    """

    def __init__(
        self,
        automaton: Automaton,
        pieces: Sequence[bytes],
        first: NDArray[np.bool_],
        later: NDArray[np.bool_],
        words: Sequence[bytes] = (),
    ) -> None:
        self._automaton, self._pieces, self._places = automaton, pieces, (first, later)
        self._index = {piece: index for index, piece in enumerate(pieces)}
        self._words = [spelt for each in words if (spelt := self._spelt(each))]
        self._lost = max(map(len, self._words), default=0)  # what has been written of a word, at most
        self._unwritten: set[_Closing] = set()  # closings that write a word, or the rest of one
        self._leads: dict[Kind, NDArray[np.int32]] = {}
        self._known: dict[bytes, list[_Closing]] = {}
        self._rises: dict[Kind, float] = {}
        self._found: OrderedDict[bytes, tuple[bytes, _Closing | None]] = OrderedDict()
        layers = self._explored()
        self._close(layers)
        self._measure(layers)

    def closing(self, text: bytes) -> tuple[bytes, ...] | None:
        """The fewest pieces that are known to make ``text`` a match; ``None`` where none are known."""
        return self._of(text)[1]

    def needed(self, text: bytes) -> int | None:
        """How many pieces that are."""
        closing = self.closing(text)
        return None if closing is None else len(closing)

    def fitting(self, text: bytes, room: int) -> NDArray[np.bool_] | None:
        """``bool [pieces]``: what may follow ``text``, but for that after which more than ``room`` tokens are needed.

        ``None`` where nothing is left out. Pieces that lead to beginnings of one look are judged by one of them, but
        for the one that goes on with a word.
        """
        look, closing = self._of(text)
        kind = bool(text), look
        if kind not in self._leads:
            return None
        if closing is not None and max(len(closing) + self._rises[kind], self._at_worst(closing)) <= room:
            return None
        allowed, _ = self._automaton.after(text)
        leads, fitting = self._leads[kind], allowed.copy()
        onward = self._index[closing[0]] if closing and closing in self._unwritten else None
        others = allowed & (np.arange(len(allowed)) != onward)
        for number in np.unique(leads[others]):
            members = others & (leads == number)
            after = self._of(text + self._pieces[int(members.argmax())])[1] if number >= 0 else None
            if after is not None and self._at_worst(after) > room:
                fitting &= ~members
        return fitting

    def _of(self, text: bytes) -> tuple[bytes, _Closing | None]:
        """How ``text`` looks, and what closes it."""
        if text in self._found:
            self._found.move_to_end(text)
            return self._found[text]
        look = self._automaton.look(text)
        self._found[text] = look, self._first(text, self._known.get(look, []))
        if len(self._found) > KEPT:
            self._found.popitem(last=False)
        return self._found[text]

    def _at_worst(self, closing: _Closing) -> int:
        """The tokens needed after any piece that looks like one after which this is a closing."""
        return len(closing) + self._lost * (closing in self._unwritten)

    def _spelt(self, word: bytes) -> _Closing:
        """``word`` in pieces, the longest first; none where there are none."""
        spelt: list[bytes] = []
        later = {piece for piece, index in self._index.items() if self._places[1][index]}
        while word:
            begins = (word[:end] for end in range(len(word), 0, -1))
            piece = next((each for each in begins if each in later), None)
            if piece is None:
                return ()
            spelt.append(piece)
            word = word.removeprefix(piece)
        return tuple(spelt)

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
                for pieces, look in ways:
                    longer.setdefault((*history, look)[-HISTORY:], text + b"".join(pieces))
            layer = longer
        return layers

    def _ways(self, text: bytes, look: bytes) -> Iterator[tuple[_Closing, bytes]]:
        kind = bool(text), look
        allowed = np.flatnonzero(self._automaton.after(text)[0] & self._places[bool(text)])
        if kind not in self._leads:
            numbers: dict[bytes, int] = {}
            leads = np.full(len(self._pieces), -1, dtype=np.int32)
            for index in allowed.tolist():
                after = self._automaton.look(text + self._pieces[index])
                leads[index] = numbers.setdefault(after, len(numbers))
            self._leads[kind] = leads
        leads, seen = self._leads[kind][allowed], {look}
        for number in np.unique(leads):
            for index in allowed[leads == number][:WAYS].tolist():
                after = self._automaton.look(text + self._pieces[index])
                seen.add(after)
                yield (self._pieces[index],), after
        for word in self._words:
            after = self._automaton.look(text + b"".join(word))
            if after and after not in seen:
                seen.add(after)
                yield word, after

    def _close(self, layers: list[list[_Beginning]]) -> None:
        """Find closings of what was explored, the longest beginnings first: what closes them closes others."""
        for begun in (begun for layer in reversed(layers) for begun in layer):
            known = self._known.setdefault(begun.look, [])
            longer = {(*pieces, *after): after for pieces, look in begun.ways for after in self._known.get(look, [])}
            found = self._first(begun.text, {(), *known, *longer})
            if found is not None and found not in known:
                self._known[begun.look] = sorted({*known, found, *self._rests(found, longer.get(found, ()))}, key=_size)
                del self._known[begun.look][CLOSINGS:]

    def _rests(self, found: _Closing, after: _Closing) -> list[_Closing]:
        """What is left of ``found`` in the midst of the word with which it begins; ``after`` comes after that."""
        written = found[: len(found) - len(after)]
        if written not in self._words:
            return []
        rests = [found[place:] for place in range(len(written))]
        self._unwritten.update(rests)
        return rests

    def _first(self, text: bytes, closings: Iterable[_Closing]) -> _Closing | None:
        tried = sorted(closings, key=_size)[:TRIED]
        return next((each for each in tried if self._automaton.is_match(text + b"".join(each))), None)

    def _measure(self, layers: list[list[_Beginning]]) -> None:
        """By how much one token can raise the tokens needed, as far as was explored; infinite where it is not known."""
        for begun in (begun for layer in layers for begun in layer):
            needed, kind = self.needed(begun.text), (bool(begun.text), begun.look)
            after = [self.needed(begun.text + pieces[0]) for pieces, _ in begun.ways if len(pieces) == 1]
            rise = max((math.inf if needed is None or each is None else each - needed for each in after), default=0)
            self._rises[kind] = max(rise, self._rises.get(kind, 0))


def _size(closing: _Closing) -> tuple[int, bytes]:
    return len(closing), b"".join(closing)
