"""A set of token sequences as a trie in one sorted array, asked about many nodes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["TokenTrie"]

FAR = 2**15 - 1  # tokens to an end, where there is none


@dataclass(frozen=True)
class TokenTrie:
    """Nodes are numbered level by level, ``roots`` first: roots are tries of their own that share the arrays.

    Node ``roots + i`` is reached from node ``keys[i] // vocabulary`` by the token ``keys[i] % vocabulary``, and
    ``keys int64`` ascends, so that one child of a node, or all of them, are found by bisection. ``ends bool [nodes]``
    marks where a sequence ends, and ``nearest int16 [nodes]`` is the fewest tokens from a node to an end. Eleven bytes
    a node in all. Libraries of tries list the keys below a prefix; what a law of the next token needs is the children
    of many nodes together, which these have not.
    """

    vocabulary: int
    roots: int
    keys: Tensor
    ends: Tensor
    nearest: Tensor

    @classmethod
    def of(
        cls, tokens: NDArray[np.int32], sizes: NDArray[np.int64], root: NDArray[np.int64], vocabulary: int
    ) -> TokenTrie:
        """Of sequences that stand one after the other in ``tokens``, ``sizes`` of them each, each below its ``root``.

        ``root`` holds 0 to ``roots - 1``. Repeated sequences are one.
        """
        roots, node, start = int(root.max()) + 1, root.astype(np.int64), np.cumsum(sizes) - sizes
        levels: list[NDArray[np.int64]] = []
        made, rows = roots, np.arange(len(sizes))
        for depth in range(int(sizes.max())):
            rows = rows[sizes[rows] > depth]
            distinct, place = np.unique(node[rows] * vocabulary + tokens[start[rows] + depth], return_inverse=True)
            node[rows] = made + place
            levels.append(distinct)
            made += len(distinct)
        ends = np.zeros(made, dtype=bool)
        ends[node] = True
        nearest = np.where(ends, 0, FAR).astype(np.int16)
        last = made
        for level in reversed(levels):
            below = nearest[last - len(level) : last]
            np.minimum.at(nearest, level // vocabulary, below + 1)
            last -= len(level)
        keys = np.concatenate(levels)
        return cls(vocabulary, roots, *(torch.from_numpy(each) for each in (keys, ends, nearest)))

    def __len__(self) -> int:
        """The number of sequences, those of every root."""
        return int(self.ends.sum())

    @property
    def nbytes(self) -> int:
        return sum(each.numel() * each.element_size() for each in (self.keys, self.ends, self.nearest))

    def to(self, device: torch.device) -> TokenTrie:
        parts = (self.keys, self.ends, self.nearest)
        return TokenTrie(self.vocabulary, self.roots, *(each.to(device) for each in parts))

    @cached_property
    def digest(self) -> str:
        """Of the set of sequences."""
        found = hashlib.sha256(self.keys.cpu().numpy().tobytes())
        found.update(self.ends.cpu().numpy().tobytes())
        return found.hexdigest()

    @cached_property
    def depth(self) -> int:
        """The most tokens of a sequence."""
        last, depth = self.roots + len(self.keys) - 1, 0
        while last >= self.roots:
            last, depth = int(self.keys[last - self.roots]) // self.vocabulary, depth + 1
        return depth

    def child(self, node: Tensor, token: Tensor) -> Tensor:
        """``int64``, of any one shape: the node after each ``token``, -1 where there is none or ``node`` is -1."""
        key = node * self.vocabulary + token
        at = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        known = (self.keys[at] == key) & (node >= 0) & (token >= 0) & (token < self.vocabulary)
        return torch.where(known, at + self.roots, -1)

    def walk(self, node: Tensor, tokens: Tensor) -> Tensor:
        """``int64 [rows, n + 1]``: nodes before each of ``tokens int64 [rows, n]`` and after the last, -1 off the trie.

        ``node int64 [rows]``: where each row begins.
        """
        nodes = [node]
        for column in tokens.unbind(dim=1):
            nodes.append(self.child(nodes[-1], column))
        return torch.stack(nodes, dim=1)

    def children(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """First child and number of children of each ``node int64 [rows]``; they are numbered one after the other."""
        bounds = torch.stack([node, node + 1], dim=1) * self.vocabulary
        first, last = torch.searchsorted(self.keys, bounds).unbind(dim=1)
        return first + self.roots, torch.where(node >= 0, last - first, 0)

    def below(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """All children of ``node int64 [rows]``, row by row: row number and node, ``int64 [children]`` each."""
        first, count = self.children(node)
        row = torch.arange(len(node), device=node.device).repeat_interleave(count)
        before = count.cumsum(dim=0) - count
        return row, (first - before)[row] + torch.arange(len(row), device=node.device)

    def token(self, node: Tensor) -> Tensor:
        """``int64``: the token that leads to each node, which is no root."""
        return self.keys[node - self.roots] % self.vocabulary

    def sequences(self, nodes: Tensor, pad_id: int) -> Tensor:
        """``int64 [nodes, width]``: the tokens on the way to each of ``nodes int64 [nodes]``, padded at the right."""
        backwards: list[Tensor] = []
        while bool((inside := nodes >= self.roots).any()):
            key = self.keys[(nodes - self.roots).clamp(min=0)]
            backwards.append(torch.where(inside, key % self.vocabulary, -1))
            nodes = torch.where(inside, key // self.vocabulary, nodes)
        found = torch.stack(backwards, dim=1).flip(1)
        absent = found < 0
        return found.masked_fill(absent, pad_id).gather(1, absent.long().argsort(dim=1, stable=True))


def flat(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows of tokens one after the other, and their sizes."""
    sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    tokens = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(sizes.sum()))
    return tokens, sizes
