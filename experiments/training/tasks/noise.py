"""Examples made of a sentence alone: words deleted, words kept, a span cut out; drawn anew whenever one is used.

Every function here takes texts (``int64 [rows, width]``, padded at the right) and returns sources and targets of the
same kind. Noise is drawn from ``rng`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

__all__ = ["SHUFFLED", "WordTable", "corrupt", "cut_span", "gumbel", "how_many", "in_order", "keep_words"]

SPACE = "Ġ"  # how byte-level BPE writes the space before a word
LONGEST_SPAN = 10  # tokens cut out
MOST_WORDS = 5  # kept, as a rule
ANY_NUMBER = 0.15  # of the texts keep any number of their words, none and all among them
SHUFFLED = 0.3  # of the texts have the words that they keep in another order
RARITY = 0.3  # a word is kept in proportion to its frequency to the power of minus this


@dataclass(frozen=True)
class WordTable:
    """What each token is, ``[vocabulary]``: the ``first`` of a word, a ``later`` part of one, how often it is used."""

    first: Tensor
    later: Tensor
    count: Tensor

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast, count: Tensor) -> WordTable:
        special = set(tokenizer.all_special_tokens)
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        inner = [token not in special and any(c.isalnum() for c in token.removeprefix(SPACE)) for token in tokens]
        spaced = torch.tensor([token.startswith(SPACE) for token in tokens])
        return WordTable(spaced & torch.tensor(inner), ~spaced & torch.tensor(inner), count.clamp_min(1))


def corrupt(rows: Tensor, pad_id: int, mask_id: int, rng: torch.Generator) -> Tensor:
    """Texts without some of their tokens, others masked, the rest shuffled a little.

    Each text has a rate of its own, uniform up to 0.6: so many of its tokens are hit, half of them deleted and half
    masked, one at least is left. The rest move by fewer than three places (noise as in Lample et al. 2018,
    arXiv:1711.00043, section 2.3).
    """
    count, width = rows.shape
    text = rows != pad_id
    rate = 0.6 * torch.rand(count, 1, generator=rng)
    draw = torch.rand(rows.shape, generator=rng)
    deleted = draw < rate / 2
    deleted[:, 0] &= ~(deleted | ~text).all(dim=1)
    place = torch.arange(width) + 3 * torch.rand(rows.shape, generator=rng)
    noisy = rows.masked_fill(text & ~deleted & (draw < rate), mask_id).masked_fill(deleted, pad_id)
    return in_order(noisy, place, pad_id)


def keep_words(rows: Tensor, pad_id: int, table: WordTable, rng: torch.Generator) -> Tensor:
    """A few words of each text, rare ones more often, in order or shuffled: what ``tokenizer("night music")`` gives.

    A word is a run of tokens with letters or digits after a space; punctuation belongs to none.
    """
    count, width = rows.shape
    later = table.later[rows]
    # A block is any token that is no later part of a word, with the later parts behind it; a word, if its head is one.
    block = (~later).cumsum(dim=1)
    shape = (count, width + 1)
    is_word = torch.zeros(shape, dtype=torch.int64).scatter_reduce(1, block, table.first[rows].long(), "amax") > 0
    used = torch.full(shape, float(table.count.max())).scatter_reduce(1, block, table.count[rows].float(), "amin")
    key = gumbel(shape, rng) - RARITY * used.log()
    rank = key.masked_fill(~is_word, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    kept = is_word & (rank < how_many(is_word.sum(dim=1, keepdim=True), rng))
    shuffled = torch.rand(count, 1, generator=rng) < SHUFFLED
    place = torch.where(shuffled, torch.rand(shape, generator=rng), torch.arange(width + 1) / (width + 1))
    order = place.gather(1, block) + torch.arange(width) * 1e-7  # the tokens of a word stay together
    return in_order(rows.masked_fill(~kept.gather(1, block), pad_id), order, pad_id)


def cut_span(rows: Tensor, pad_id: int, sentinel_id: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """``left <sentinel> right`` and the span between, from 0 to ``LONGEST_SPAN`` tokens (Raffel et al. 2020)."""
    lengths = (rows != pad_id).sum(dim=1, keepdim=True)
    size = _up_to(lengths.clamp_max(LONGEST_SPAN), rng)
    start = _up_to(lengths - size, rng)
    room = torch.nn.functional.pad(rows, (0, LONGEST_SPAN + 1), value=pad_id)
    place = torch.arange(rows.shape[1] + 1)
    source = room.gather(1, (place + (place > start) * (size - 1)).expand(len(rows), -1))
    source = source.scatter(1, start, sentinel_id)
    within = torch.arange(LONGEST_SPAN)
    span = room.gather(1, start + within).masked_fill(within >= size, pad_id)
    return source, span


def how_many(words: Tensor, rng: torch.Generator) -> Tensor:
    few = torch.randint(1, MOST_WORDS + 1, words.shape, generator=rng)
    return torch.where(torch.rand(words.shape, generator=rng) < ANY_NUMBER, _up_to(words, rng), few)


def _up_to(most: Tensor, rng: torch.Generator) -> Tensor:
    """Uniform whole numbers from 0 to ``most``, which is one of them."""
    return (torch.rand(most.shape, generator=rng) * (most + 1)).long().clamp_max(most)


def gumbel(shape: tuple[int, int], rng: torch.Generator) -> Tensor:
    return -torch.empty(shape).exponential_(generator=rng).log()


def in_order(rows: Tensor, place: Tensor, pad_id: int) -> Tensor:
    """Tokens sorted by ``place``, padding last."""
    return rows.gather(1, place.masked_fill(rows == pad_id, torch.inf).argsort(dim=1))
