"""Which tokens may follow the beginning of a text, so that it can still match a grammar."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_adapters.grammars.closings import Closings
from lm_adapters.grammars.grammar import Grammar
from lm_adapters.grammars.written import Written
from lm_adapters.text import TextSpace

__all__ = ["NextTokens"]

KEPT = 64 * 2**20  # bytes of masks that are kept for the next time
FEW = 64  # tokens; where more may follow no string must come


class NextTokens:
    """The mask of a ``grammar``: tokens of ``space`` after which a text can still match, in every spelling.

    No token is left out that begins a match; one that begins none may be among them, where the grammar shows that only
    later. What is drawn by the mask is thus a proposal: each step renormalises, and the law of the texts is that of the
    model given the grammar only with the weight, the product of the masses that were allowed (Lew et al. 2023,
    arXiv:2306.03081).

    Cost: a mask for each beginning, and of what fits one for each room, kept for the next time; no pass of a model.
    Raises ``InvalidInput`` for a tokenizer that sets spaces by rule.
    """

    transient = ("_known", "_fits", "_spelt")

    def __init__(self, space: TextSpace, grammar: Grammar) -> None:
        self.space, self.grammar = space, grammar
        parts = Written(space).parts
        first = [None if part is None else part.removeprefix(" ").encode() for part in parts]
        later = [None if part is None else part.encode() for part in parts]
        self._bytes = (first, later)
        pieces = sorted({piece for row in self._bytes for piece in row if piece})
        # A space is nothing before the first word: whatever could follow still can.
        number = {piece: index for index, piece in enumerate([*pieces, b"", None])}
        self._piece = [np.array([number[piece] for piece in row]) for row in self._bytes]
        self._empty = number[b""]
        self._pieces, self._automaton = pieces, grammar.automaton(pieces)
        self._known: OrderedDict[tuple[bool, bytes], tuple[NDArray[np.uint8], bool]] = OrderedDict()
        self._fits: OrderedDict[tuple[bool, bytes, int], NDArray[np.uint8]] = OrderedDict()
        self._spelt: OrderedDict[tuple[bool, bytes], int] = OrderedDict()

    def config(self) -> dict[str, Any]:
        return {"space": self.space, "grammar": self.grammar}

    def allowed(self, x: Tensor, place: Tensor, end_id: int | None = None) -> Tensor:
        """``bool [rows, vocabulary]``: what may follow the first ``place int64 [rows]`` tokens of each of ``x``.

        ``x int64 [rows, width]``. The token ``end_id``, where it is given, is allowed after a whole match.
        """
        after = [self._after(tokens[:count]) for tokens, count in zip(x.tolist(), place.tolist(), strict=True)]
        packed, whole = zip(*after, strict=True)
        found = self._unpacked(packed)
        if end_id is not None:
            found[:, end_id] = whole
        return torch.from_numpy(found).to(x.device)

    def fitting(self, x: Tensor, place: Tensor, room: Tensor) -> Tensor:
        """As ``allowed``, without tokens after which more than ``room int64 [rows]`` tokens are needed for a match.

        As far as trying has shown (see ``Closings``): what is left out may fit, and what is not may not. So it is
        where most draws should be made, and never a mask. ``bool [rows, vocabulary]``; the end is not among them.
        """
        rows = zip(x.tolist(), place.tolist(), room.tolist(), strict=True)
        found = self._unpacked([self._fitting(tokens[:count], left) for tokens, count, left in rows])
        return torch.from_numpy(found).to(x.device)

    def spelling(self, x: Tensor, place: Tensor) -> Tensor:
        """``int64 [rows]``: the longest token of a string that must come after ``place`` tokens; -1 where none must.

        -1 too where it has one spelling.
        """
        found = [self._longest(tokens[:count]) for tokens, count in zip(x.tolist(), place.tolist(), strict=True)]
        return torch.tensor(found, device=x.device)

    def closing(self, tokens: list[int]) -> list[int] | None:
        """Tokens that make ``tokens`` a match, the fewest that are known (see ``Closings``); ``None``: none are."""
        text = self.text(tokens)
        pieces = None if text is None else self._closings.closing(text)
        if pieces is None:
            return None
        return [self._token[bool(tokens) or place > 0][piece] for place, piece in enumerate(pieces)]

    def is_match(self, x: Tensor) -> Tensor:
        """``bool [rows]``: whether the whole texts ``x int64 [rows, width]`` match; none does with other tokens."""
        texts = [self.text(tokens[:count]) for tokens, count in zip(x.tolist(), self._lengths(x), strict=True)]
        found = [text is not None and self._automaton.is_match(text) for text in texts]
        return torch.tensor(found, dtype=torch.bool, device=x.device)

    def hopeless(self, x: Tensor) -> Tensor:
        """``bool [rows]``: beginnings that are none of a match, for ``AdaptiveRejection``."""
        found = [self._after(tokens[:count]) for tokens, count in zip(x.tolist(), self._lengths(x), strict=True)]
        return torch.tensor(
            [not whole and not packed.any() for packed, whole in found], dtype=torch.bool, device=x.device
        )

    def may_follow(self, tokens: list[int], token: int, end_id: int) -> bool:
        """Whether ``token`` is among what ``allowed`` says of ``tokens``; without a mask, for ``accepted``."""
        text = self.text(tokens)
        if text is None or token == end_id:
            return text is not None and self._automaton.is_match(text)
        piece = int(self._piece[bool(tokens)][token])
        if piece < self._empty:
            return self._automaton.may_follow(text, piece)
        return piece == self._empty and bool(self._after(tokens)[0].any())

    def is_whole(self, tokens: list[int]) -> bool:
        """Whether the text of ``tokens`` matches."""
        return self._after(tokens)[1]

    @property
    def pieces(self) -> tuple[set[str], set[str]]:
        """What a token may write at the beginning of a text, and after that."""
        first, later = ({piece.decode() for piece in row if piece is not None} for row in self._bytes)
        return first, later

    @cached_property
    def _closings(self) -> Closings:
        first, later = (np.isin(np.arange(len(self._pieces)), row) for row in self._piece)
        words = [word.encode() for word in self.grammar.words]
        return Closings(self._automaton, self._pieces, first, later, words)

    def _fitting(self, tokens: list[int], room: int) -> NDArray[np.uint8]:
        """What fits after ``tokens``, packed."""
        text = self.text(tokens)
        key = (bool(tokens), text or b"", room)
        if text is None:
            return self._after(tokens)[0]
        if key in self._fits:
            self._fits.move_to_end(key)
            return self._fits[key]
        pieces, needed = self._closings.fitting(text, room), self._closings.needed(text)
        in_time = needed is None or needed <= room
        if pieces is None and in_time:
            return self._after(tokens)[0]
        if pieces is None:
            pieces = self._automaton.after(text)[0]
        packed = np.packbits(np.append(pieces, [in_time, False])[self._piece[bool(tokens)]])
        self._fits[key] = packed
        if len(self._fits) * packed.nbytes > KEPT:
            self._fits.popitem(last=False)
        return packed

    @cached_property
    def _token(self) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """A token for each piece, at the beginning of a text and after that."""
        first, later = (
            {piece: token for token, piece in reversed([*enumerate(row)]) if piece is not None} for row in self._bytes
        )
        return first, later

    def _longest(self, tokens: list[int]) -> int:
        packed, whole = self._after(tokens)
        key = (bool(tokens), self.text(tokens) or b"")
        if key not in self._spelt:
            may_follow = np.flatnonzero(np.unpackbits(packed, count=self.space.vocabulary))
            self._spelt[key] = -1 if whole or not 1 < len(may_follow) <= FEW else self._chain(may_follow, key[0])
            if len(self._spelt) * packed.nbytes > KEPT:
                self._spelt.popitem(last=False)
        return self._spelt[key]

    def _chain(self, tokens: NDArray[np.int64], begun: bool) -> int:
        """The longest of ``tokens``, if it begins with each of them; else -1."""
        parts = {int(token): self._bytes[begun][token] or b"" for token in tokens}
        longest = max(parts, key=lambda token: len(parts[token]))
        return longest if all(parts[longest].startswith(part) for part in parts.values()) else -1

    def _unpacked(self, packed: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        return np.unpackbits(np.stack(packed), axis=1, count=self.space.vocabulary).view(bool)

    def _lengths(self, x: Tensor) -> list[int]:
        return self.space.lengths(x).tolist()

    def _after(self, tokens: list[int]) -> tuple[NDArray[np.uint8], bool]:
        """The mask after ``tokens``, packed, and whether they are a whole match."""
        text = self.text(tokens)
        key = (bool(tokens), text or b"")
        if text is None:
            return np.zeros((self.space.vocabulary + 7) // 8, dtype=np.uint8), False
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        pieces, whole = self._automaton.after(text)
        known = np.append(pieces, [pieces.any(), False])
        packed = np.packbits(known[self._piece[bool(tokens)]])
        self._known[key] = packed, whole
        if len(self._known) * packed.nbytes > KEPT:
            self._known.popitem(last=False)
        return packed, whole

    def text(self, tokens: list[int]) -> bytes | None:
        """What the tokens write, or ``None`` where one of them is never proposed."""
        first, later = self._bytes
        parts = [later[token] if place else first[token] for place, token in enumerate(tokens)]
        return None if None in parts else b"".join(part for part in parts if part is not None)
