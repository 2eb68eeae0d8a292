"""Which occurrences of locked pieces in batches of states are the pieces: assignments of several.

An assignment of one piece depends on those of others. All pieces are assigned at once, again and again, until nothing
changes; a round costs the same number of operators for any number of pieces, and the first one is usually right.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.occurrences import Occurrences
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["UNBOUNDED", "first_in_order", "longest_first", "piece_numbers", "tokens_after"]

UNBOUNDED = 2**31
"""The largest gap, in tokens, where a gap has no bound."""


def first_in_order(
    occurrences: Occurrences, gaps: Sequence[tuple[int, int]], lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The match of pieces in order with the smallest gaps, leftmost first.

    ``gaps``: fewest and most tokens before each piece and after the last; ``lengths int64 [chains]`` in tokens. Returns
    starts and sizes, ``int64 [chains, pieces]``, and whether there is a match, ``bool [chains]`` (where there is none,
    the others are arbitrary).

    A piece stands at its first place at or after the end of the one before. Rounds of this, for all pieces at once,
    begin at the leftmost places (for the second of two equal pieces, the second) and only move to the right, never
    beyond the match: a chain in which a piece has no place left has none. Where gaps have bounds, only places are taken
    from which the rest of the match can be reached.
    """
    pieces, stride = occurrences.pieces, occurrences.stride
    base = torch.arange(len(lengths) * pieces, device=lengths.device).reshape(-1, pieces) * stride
    bounded = any(gap != (0, UNBOUNDED) for gap in gaps)
    if bounded:
        occurrences = _continued(occurrences, gaps, lengths)
    place = torch.searchsorted(occurrences.key, base)
    if not bounded and any(occurrences.alike):
        alike = torch.tensor(occurrences.alike, device=base.device)
        place = (place + alike).clamp(max=len(occurrences.key) - 1)
    start = (occurrences.key[place] - base).clamp(max=stride)
    while True:
        found = (start < stride).all(dim=1)
        size = occurrences.size[place]
        earliest = base + pad((start + size)[:, :-1], (1, 0))
        if bounded:
            earliest = earliest + torch.tensor([fewest for fewest, _ in gaps[:-1]], device=base.device)
        place = torch.searchsorted(occurrences.key, torch.minimum(earliest, base + stride))
        before, start = start, (occurrences.key[place] - base).clamp(max=stride)
        if not bool(((start != before).any(dim=1) & found).any()):
            return before, size, found


def _continued(occurrences: Occurrences, gaps: Sequence[tuple[int, int]], lengths: Tensor) -> Occurrences:
    """Those from which all later pieces and the end can be reached by the ``gaps``; a first piece within its own."""
    key, size, pieces, stride, longest, alike = occurrences
    fewest, most = torch.tensor(gaps, device=key.device).clamp(max=stride).unbind(dim=1)
    column, slot = occurrences.column, occurrences.slot
    piece, end = slot % pieces, column + size[:-1]
    left = lengths[slot // pieces] - end
    last, first = piece == pieces - 1, piece == 0
    good = (~first | ((column >= fewest[0]) & (column <= most[0]))) & (
        ~last | ((left >= fewest[-1]) & (left <= most[-1]))
    )
    following = (slot + 1) * stride
    low = torch.searchsorted(key[:-1], following + end + fewest[piece + 1])
    high = torch.searchsorted(key[:-1], following + (end + most[piece + 1]).clamp(max=stride - 1), right=True)
    while True:
        count = pad(good.cumsum(dim=0), (1, 0))
        reached = good & (last | (count[high] > count[low]))
        if torch.equal(reached, good):
            chosen = pad(good, (0, 1), value=True)
            return Occurrences(key[chosen], size[chosen], pieces, stride, longest, alike)
        good = reached


def longest_first(occurrences: Occurrences, order: Sequence[int], chains: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each piece, in the given order of precedence, at its leftmost place that overlaps none placed before.

    The result is as for ``first_in_order``. In each round a piece takes its leftmost place that overlaps none where
    the pieces before it stood in the round before: after ``n`` rounds the first ``n`` pieces are where they belong.
    """
    key, size, pieces, stride, _, alike = occurrences
    slot, device = occurrences.slot, key.device
    rank = torch.tensor([order.index(piece) for piece in range(pieces)], device=device)
    own, number = rank[slot % pieces], torch.arange(len(slot), device=device)
    first = slot // pieces * stride + occurrences.column
    cells = torch.minimum(torch.arange(occurrences.longest, device=device), size[:-1, None] - 1) + first[:, None]
    cells_or_none = pad(cells, (0, 0, 0, 1), value=chains * stride)
    nowhere = torch.full((chains * pieces,), len(slot), device=device)
    # To begin with, of equal pieces the first has its first place, the second its second, and so on.
    chosen = torch.searchsorted(key, torch.arange(len(nowhere), device=device) * stride)
    if any(alike):
        chosen = (chosen + torch.tensor(alike, device=device).repeat(chains)).clamp(max=len(slot))
    ranks = rank.repeat(chains)[:, None].expand(-1, cells.shape[1]).flatten()
    while True:
        owner = torch.full((chains * stride + 1,), pieces, device=device)
        owner.scatter_reduce_(0, cells_or_none[chosen].flatten(), ranks, "amin")
        free = owner[cells].amin(dim=1) >= own
        before, chosen = chosen, nowhere.scatter_reduce(0, slot[free], number[free], "amin")
        if torch.equal(before, chosen):
            start = pad(occurrences.column, (0, 1), value=stride)[chosen].reshape(chains, pieces)
            return start, size[chosen].reshape(chains, pieces), (start < stride).all(dim=1)


def piece_numbers(start: Tensor, size: Tensor, found: Tensor, x: Tensor) -> Tensor:
    """``int64 [chains, width]``: the number of the piece at each column, from 1; 0 for none and where not found.

    ``start`` and ``size``, ``int64 [chains, pieces]``: pieces that do not overlap where they are ``found``.
    """
    width = x.shape[1]
    number = torch.arange(1, start.shape[1] + 1, device=x.device).expand_as(start)
    change = x.new_zeros(len(x), width + 1)
    change.scatter_add_(1, start.clamp(max=width), number)
    change.scatter_add_(1, (start + size).clamp(max=width), -number)
    return change.cumsum(dim=1)[:, :-1] * found.unsqueeze(1)


def tokens_after(space: TextSpace, text: str, gap: str) -> list[int]:
    """Token ids of ``text`` after a word and ``gap``, a space or nothing.

    Raises ``InvalidInput`` where the tokenizer joins the text with the word before it.
    """
    for word in ascii_lowercase + digits:
        head, whole = space.tokenizer([word, word + gap + text], add_special_tokens=False)["input_ids"]
        if whole[: len(head)] == head and len(whole) > len(head):
            after: list[int] = whole[len(head) :]
            return after
    raise InvalidInput(f"the tokenizer cannot separate {text!r} from a word before it; use other characters or a space")
