"""What the mathematics of a step needs its models to read, found in the moves that a real step proposed.

Every floor supposes what a sampler can know for nothing. A proposal equal to the state has the state's energy; one that
a constraint forbids, or that has no way back, is rejected unread. Within a step nothing is read twice: what a reader
from left to right has read of a text serves every other that begins like it. From one step to the next states,
energies and the densities of drawn tokens are kept, as a run that is resumed has them, but no keys and values: the last
bits of an energy would come to depend on what else the process had read. Rows of different chains that happen to be
equal count apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from experiments.benchmarking.profile import Kept, MaskedRows, TextRows, WholeTexts
from experiments.benchmarking.recording import Move
from experiments.benchmarking.reference_forwards import BareMasked, BareReader
from experiments.benchmarking.timing import Stage
from lm_adapters.forward import with_special_tokens
from samplers import Energy, WeightedSum

__all__ = [
    "blockwise_rows",
    "drawn_tokens",
    "proposing_rows",
    "pseudo_likelihood_rows",
    "rescored_candidates",
    "rescored_texts",
    "site_rows",
    "undecided",
]


def proposing_rows(bare: BareMasked, move: Move) -> Iterator[MaskedRows]:
    """The rows with masks that the proposal read: one a chain, which gives the densities of both directions."""
    if not move.masked:
        return
    width = max(ids.shape[1] for ids, _ in move.masked)
    ids = torch.cat([pad(ids, (0, width - ids.shape[1]), value=bare.lm.space.pad_id) for ids, _ in move.masked])
    lengths = torch.cat(
        [
            ids.new_full((len(ids),), ids.shape[1]) if attention is None else attention.sum(dim=1)
            for ids, attention in move.masked
        ]
    )
    yield MaskedRows("propose", bare, ids, lengths)


def undecided(energy: Energy, move: Move) -> Tensor:
    """``int64 [rows]``: chains whose fate depends on a model's energy of what was proposed."""
    new = move.answer.x
    rows = (new != move.x).any(dim=1) & (move.answer.log_q_reverse > -math.inf)
    hard = [part for _, part in energy.parts if part.is_constraint] if isinstance(energy, WeightedSum) else []
    return reduce(lambda left, term: left & (term(new) < math.inf), hard, rows).nonzero().squeeze(1)


def pseudo_likelihood_rows(bare: BareMasked, move: Move, chains: Tensor) -> Iterator[MaskedRows]:
    """A row for each site of the new texts, masked; not for a single redrawn site: that row has proposed it."""
    space, old, new = bare.lm.space, move.x[chains], move.answer.x[chains]
    changed = old != new
    alone = changed.sum(dim=1, keepdim=True) == 1
    same_length = (space.lengths(old) == space.lengths(new)).unsqueeze(1)
    yield from site_rows(bare, new, space.is_token(new) & ~(changed & alone & same_length))


def site_rows(bare: BareMasked, x: Tensor, sites: Tensor) -> Iterator[MaskedRows]:
    """A row for each of the ``sites bool [texts, width]`` of ``x int64 [texts, width]``, masked."""
    space, (rows, columns) = bare.lm.space, sites.nonzero(as_tuple=True)
    if len(rows):
        assert space.mask_id is not None, "a masked language model has a mask token"
        masked = x[rows].scatter(1, columns.unsqueeze(1), space.mask_id)
        frame = len(space.prefix) + len(space.suffix)
        yield MaskedRows("score", bare, with_special_tokens(space, masked)[0], space.lengths(masked) + frame)


def blockwise_rows(bare: BareMasked, move: Move, chains: Tensor, blocks: int) -> Iterator[MaskedRows]:
    """A row for each block of sites of the new texts, masked together."""
    space, new = bare.lm.space, move.answer.x[chains]
    rows, block = (torch.arange(blocks, device=new.device) < space.lengths(new).unsqueeze(1)).nonzero(as_tuple=True)
    if len(rows):
        hidden = torch.arange(new.shape[1], device=new.device) % blocks == block.unsqueeze(1)
        masked = new[rows].masked_fill(hidden & space.is_token(new[rows]), space.mask_id)
        frame = len(space.prefix) + len(space.suffix)
        yield MaskedRows("screen", bare, with_special_tokens(space, masked)[0], space.lengths(masked) + frame)


def rescored_texts(reader: BareReader, move: Move, chains: Tensor) -> Iterator[WholeTexts]:
    """The new texts."""
    if len(chains):
        yield WholeTexts("score", reader, move.answer.x[chains])


def rescored_candidates(reader: BareReader, move: Move) -> Iterator[Stage]:
    """What stands before the site, once a chain; of each candidate but the current token, whose energy is known, it
    and all that stands behind it.

    Chains whose token is not on its list stay, and cost nothing.
    """
    (x, site), values = move.arguments, move.answer
    current = values == x.gather(1, site.unsqueeze(1))
    chains, column = (current.any(dim=1, keepdim=True) & ~current).nonzero(as_tuple=True)
    if len(chains):
        columns = torch.arange(x.shape[1], device=x.device)
        before = x.where(columns < site.unsqueeze(1), reader.space.pad_id)
        yield WholeTexts("read", reader, before[current.any(dim=1)])
        new = x[chains].scatter(1, site[chains].unsqueeze(1), values[chains, column].unsqueeze(1))
        yield TextRows("score", Kept(reader, x), new, site[chains], chains)


def drawn_tokens(reader: BareReader, move: Move) -> Iterator[Stage]:
    """What stands before each cut; then token by token, as each waits for the one before, to the last of each new text.

    Each pass gives the law of the next token, so drawing, density and energy need no other pass, but the softmax and
    the draw, as the next pass waits for the token. Neither does the density of the old text, which was stored when it
    was drawn, need a pass.
    """
    new, cut = move.answer.x, move.cut
    assert cut is not None, "the proposal cuts texts"
    chains, column = torch.arange(len(new), device=new.device), torch.arange(new.shape[1], device=new.device)

    def first(tokens: Tensor) -> Tensor:
        return new.where(column < tokens.unsqueeze(1), reader.space.pad_id)

    yield WholeTexts("read", reader, first(cut), next_only=True, drawn=True)
    kept = Kept(reader, new)
    for depth in range(int((reader.space.lengths(new) - cut).max())):
        yield TextRows("draw", kept, first(cut + depth + 1), cut + depth, chains, drawn=True)
