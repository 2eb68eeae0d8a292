"""What the rest of a phrase can still have in common with a text, for every node of a trie."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lm_adapters.phrases.token_trie import TokenTrie
from samplers import InvalidInput

__all__ = ["LookAhead"]


class LookAhead:
    """The rule ``p_k <- p_k^(1 / (D_k + 1))``, renormalised, where ``D_k`` is what branch ``k`` can add to an overlap.

    The overlap of two texts is the length of their longest common subsequence of tokens. ``D_k`` is the largest overlap
    with ``text int64 [tokens]`` of a phrase below ``k``, less that of the tokens so far: a branch that leads to words
    of the text is taken more often than the next token alone would have it. The end of a phrase adds nothing, ``D =
    0``. Reference: Jianlin Su, https://kexue.fm/archives/8802, who decodes greedily by it; here it changes what is
    proposed, and the accept step corrects for it.

    Cost: a table row of the text's length for each node, level by level, once. Raises ``InvalidInput`` for no text.
    """

    def __init__(self, trie: TokenTrie, text: Tensor) -> None:
        if not len(text):
            raise InvalidInput("text has no tokens; look ahead to a text that has some")
        self.text, self._trie = text, trie
        self.overlap, self.best = _overlaps(trie, text)

    def config(self) -> dict[str, Any]:
        return {"text": self.text, "phrases": self._trie.digest}

    def exponents(self, node: Tensor, child: Tensor) -> Tensor:
        """``float64``: ``1 / (D + 1)`` of each ``child [rows, n]`` of ``node [rows]``."""
        gain = self.best[child] - self.overlap[node].unsqueeze(1)
        return 1 / (gain + 1).double()


def _overlaps(trie: TokenTrie, text: Tensor) -> tuple[Tensor, Tensor]:
    """``int16 [nodes]`` each: the overlap of the way to a node, and the largest of a phrase that ends there or below.

    The programme of the longest common subsequence, a row for each node, computed from its parent's.
    """
    nodes = len(trie.ends)
    overlap = torch.zeros(nodes, dtype=torch.int16, device=trie.keys.device)
    level = torch.arange(trie.roots, device=trie.keys.device)
    table = torch.zeros(trie.roots, len(text) + 1, dtype=torch.int16, device=trie.keys.device)
    levels = []
    while True:
        row, child = trie.below(level)
        if not len(child):
            break
        before, same = table[row], trie.token(child).unsqueeze(1) == text
        # A row of the programme: the larger of the one above, one more along the diagonal, and what is on its left.
        table = before.clone()
        table[:, 1:] = torch.maximum(before[:, 1:], (before[:, :-1] + 1) * same)
        table = table.cummax(dim=1).values
        overlap[child] = table[:, -1]
        levels.append((level[row], child))
        level = child
    best = torch.where(trie.ends, overlap, 0)
    for parent, child in reversed(levels):
        best.scatter_reduce_(0, parent, best[child], "amax")
    return overlap, best
