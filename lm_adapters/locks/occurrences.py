"""Where locked pieces stand in a batch of states: all pieces in one search, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.piece import EDGES, FORBIDDEN, START, UNDECIDED, Piece

__all__ = ["Occurrences", "PieceSearch"]

TENSORS = ("group", "spellings", "tokens", "sizes", "piece", "before", "after", "left", "right")


class Occurrences(NamedTuple):
    """Every place where a piece stands, sorted by state, then by piece, then by column.

    ``key int64 [places + 1]`` is ``(state * pieces + piece) * stride + column``, with one key above all others at the
    end; ``size int64 [places + 1]`` the number of tokens there. ``stride`` is above every column of a state, and above
    every column where a piece can end. ``longest``: the most tokens of a piece. ``alike[k]``: how many pieces before
    the ``k``-th are spelt like it.
    """

    key: Tensor
    size: Tensor
    pieces: int
    stride: int
    longest: int
    alike: Sequence[int]

    @property
    def column(self) -> Tensor:
        """``int64 [places]``."""
        return self.key[:-1] % self.stride

    @property
    def slot(self) -> Tensor:
        """``int64 [places]``: ``state * pieces + piece``."""
        return self.key[:-1] // self.stride


class PieceSearch:
    """Finds ``pieces`` in states. At most one place of a piece starts at a column: that of its last spelling there.

    The tokens that begin a spelling are looked up first, so that only these places are compared with spellings.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces

    def __call__(self, x: Tensor) -> Occurrences:
        """The places in states ``x int64 [chains, width]``."""
        table, width = self._on(x.device), x.shape[1]
        group = table.group[x]
        state, column = group.nonzero(as_tuple=True)
        candidates = table.spellings[group[state, column]]  # [places, spellings that begin with this token]
        padded = pad(x, (1, table.tokens.shape[1]), value=table.pad_id)
        window = padded.unfold(1, table.tokens.shape[1] + 2, 1)[state, column]
        tokens, size = table.tokens[candidates], table.sizes[candidates]
        same = ((tokens == window[:, None, 1:-1]) | (tokens < 0)).all(dim=2)
        verdict = torch.maximum(
            table.left[candidates, table.before[window[:, :1]]],
            table.right[candidates, table.after[window.gather(1, size + 1)]],
        )
        here = same & (verdict < FORBIDDEN)
        place, choice = here.nonzero(as_tuple=True)
        spelling = candidates[place, choice]
        state, column, size = state[place], column[place], size[place, choice]
        if table.may_be_undecided:
            decided = self._decided(x, state, column, spelling, verdict[place, choice] == UNDECIDED)
            kept = decided.nonzero().squeeze(1)
            state, column, size, spelling = state[kept], column[kept], size[kept], spelling[kept]
        return self._sorted(state, table.piece[spelling], column, size, spelling, len(x), width + 2)

    def _decided(self, x: Tensor, state: Tensor, column: Tensor, spelling: Tensor, undecided: Tensor) -> Tensor:
        """``bool [places]``: those that stand by themselves; where tokens do not tell, the text does."""
        kept = torch.ones_like(undecided)
        for number in spelling[undecided].unique().tolist():
            piece, size = self._spelt[number]
            places = (undecided & (spelling == number)).nonzero().squeeze(1)
            kept[places] = self.pieces[piece].stands(x, state[places], column[places], size)
        return kept

    def _sorted(
        self, state: Tensor, piece: Tensor, column: Tensor, size: Tensor, spelling: Tensor, states: int, stride: int
    ) -> Occurrences:
        count = len(self.pieces)
        key = (state * count + piece) * stride + column
        # A later spelling of a piece has a higher number, and comes later.
        order = (key * len(self._spelt) + spelling).argsort()
        key, size = key[order], size[order]
        if any(len(piece.spellings) > 1 for piece in self.pieces):
            last = pad(key[1:] != key[:-1], (0, 1), value=True)[: len(key)]
            key, size = key[last], size[last]
        key, size = pad(key, (0, 1), value=states * count * stride), pad(size, (0, 1))
        return Occurrences(key, size, count, stride, max(size for _, size in self._spelt), self._alike)

    @cached_property
    def _alike(self) -> list[int]:
        spellings = [piece.spellings for piece in self.pieces]
        return [spellings[:number].count(each) for number, each in enumerate(spellings)]

    @cached_property
    def _spelt(self) -> list[tuple[int, int]]:
        """Piece and number of tokens of every spelling."""
        return [(number, len(each)) for number, piece in enumerate(self.pieces) for each in piece.spellings]

    @cached_property
    def _table(self) -> _Table:
        return _Table.of(self.pieces)

    def _on(self, device: torch.device) -> _Table:
        if self._table.group.device != device:
            self._table = self._table.to(device)
        return self._table


class _Table(NamedTuple):
    """What the spellings of all pieces need, numbered through, and one more that stands nowhere.

    ``group [vocabulary]`` is 0 for a token that begins no spelling; ``spellings [groups, most]`` are those of a group.
    ``tokens [spellings, longest]`` ends with -1 where a spelling is shorter. ``before`` and ``after [vocabulary]`` are
    kinds of edges, ``left`` and ``right [spellings, kinds]`` what such a neighbour makes of a spelling.
    """

    group: Tensor
    spellings: Tensor
    tokens: Tensor
    sizes: Tensor
    piece: Tensor
    before: Tensor
    after: Tensor
    left: Tensor
    right: Tensor
    pad_id: int
    may_be_undecided: bool

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> _Table:
        space = pieces[0].space
        spelt = [(number, each) for number, piece in enumerate(pieces) for each in piece.spellings]
        groups: dict[int, list[int]] = defaultdict(list)
        for number, (_, spelling) in enumerate(spelt):
            groups[spelling[0]].append(number)
        group = torch.zeros(space.vocabulary, dtype=torch.int64)
        group[list(groups)] = torch.arange(1, len(groups) + 1)
        nowhere, most = len(spelt), max(map(len, groups.values()))
        rows = [[], *groups.values()]
        longest = max(len(spelling) for _, spelling in spelt)
        after, before = space.word_edges(torch.arange(space.vocabulary).unsqueeze(0))
        before[0, space.pad_id] = START
        sides = [side for piece in pieces for side in piece.verdicts()]
        left, right = (torch.tensor([*each, [FORBIDDEN] * len(EDGES)]) for each in zip(*sides, strict=True))
        return cls(
            group=group,
            spellings=torch.tensor([row + [nowhere] * (most - len(row)) for row in rows]),
            tokens=torch.tensor([*(list(each) + [-1] * (longest - len(each)) for _, each in spelt), [-1] * longest]),
            sizes=torch.tensor([*(len(each) for _, each in spelt), 1]),
            piece=torch.tensor([number for number, _ in spelt]),
            before=before[0].long(),
            after=after[0].long(),
            left=left,
            right=right,
            pad_id=space.pad_id,
            may_be_undecided=bool((left[:-1] == UNDECIDED).any() | (right[:-1] == UNDECIDED).any()),
        )

    def to(self, device: torch.device) -> _Table:
        return self._replace(**{name: each.to(device) for name, each in self._asdict().items() if name in TENSORS})
