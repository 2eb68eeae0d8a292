"""A model that reads from left to right, made to write words that must come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.forward.kv_cache import Prefixes
from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.piece import Piece
from lm_adapters.models.autoregressive import Autoregressive
from samplers import InvalidInput

__all__ = ["BoostedReader"]


class BoostedReader:
    """``p(x_j | x_<j)`` in proportion to ``reader(x_j | x_<j) exp(b)``, an ``Autoregressive``.

    ``b`` is the ``nats`` of a word of ``lock`` that ``x_<j`` lacks for the token that begins it or goes on with it,
    minus the most of such ``nats`` for the end, and 0 otherwise: the words come where the model finds them less out of
    place than elsewhere. For proposals: a model that has not read the words hardly ever writes a rare one. A word whose
    best place costs as many nats as are given is written there about every other time. No text that ``reader`` holds
    possible is impossible, and whether the words stand as words in what was drawn is for the law to say.

    Reference: Pascual et al. 2021 (arXiv:2109.09707), who shift the logits of a word and all like it, to decode.
    Cost: that of ``reader``. Raises ``InvalidInput`` unless there is a number of nats that is not negative for each
    word, and for words in other tokens.
    """

    def __init__(self, reader: Autoregressive, lock: Keywords, nats: Sequence[float]) -> None:
        if len(nats) != len(lock.words) or not all(0 <= each < math.inf for each in nats):
            raise InvalidInput(f"nats are {list(nats)}; give a number for each of {len(lock.words)} words, 0 or more")
        if lock.space.tokenizer.get_vocab() != reader.space.tokenizer.get_vocab():
            raise InvalidInput("the words are spelt in other tokens than the model's; give them in its own")
        self.reader, self.lock, self.nats = reader, lock, list(nats)
        self._pieces = list(zip(lock.spelt, nats, strict=True))
        if lock.any_order:
            self._pieces.sort(key=lambda each: -max(map(len, each[0].spellings)))
        self.lm, self.space, self.eos_id, self.allowed = reader.lm, reader.space, reader.eos_id, reader.allowed

    def config(self) -> dict[str, Any]:
        return {"reader": self.reader, "lock": self.lock, "nats": self.nats}

    @property
    def max_length(self) -> int:
        return self.reader.max_length

    @property
    def tokens_per_pass(self) -> int:
        return self.reader.tokens_per_pass

    @property
    def ragged(self) -> bool:
        return self.reader.ragged

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        return self._boosted(self.reader.logits(x, wanted), _beginnings(x, wanted))

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and what was read, tokens included; see ``Autoregressive``."""
        logits, before = self.reader.read(x, wanted)
        return self._boosted(logits, _beginnings(x, wanted)), _with_tokens(_right_aligned(x, before.counts), before)

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Logits ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        assert before.beside is not None
        read = torch.cat([before.layers[0][0][:, 0, :, 0], tokens], dim=1)
        logits, after = self.reader.extend(before.beside, tokens, wanted)
        size = read.shape[1] - tokens.shape[1]
        begun = [
            read[row, size - int(before.counts[row]) : size + column + 1].tolist()
            for row, column in wanted.nonzero().tolist()
        ]
        return self._boosted(logits, begun), _with_tokens(read, after)

    def _boosted(self, logits: Iterable[Tensor], begun: Sequence[list[int]]) -> Iterator[Tensor]:
        for part, rows in aligned_parts(logits, torch.arange(len(begun))):
            boosted = [
                (row, token, nats)
                for row, number in enumerate(rows.tolist())
                for token, nats in self._boosts(begun[number]).items()
            ]
            if not boosted:
                yield part
                continue
            row, token, nats = zip(*boosted, strict=True)
            at = torch.tensor([row, token], device=part.device)
            yield part.index_put(tuple(at), part.new_tensor(nats), accumulate=True)

    def _boosts(self, begun: list[int]) -> dict[int, float]:
        """Nats for each token that begins a word that ``begun`` lacks, or goes on one, and for the end."""
        found: dict[int, float] = {}
        for piece, nats in self._lacking(begun):
            found[self.eos_id] = min(found.get(self.eos_id, 0.0), -nats)
            for start in range(len(begun) + 1):
                size = len(begun) - start
                spellings = (each for each in piece.spellings_at(start) if len(each) > size)
                next_tokens = {each[size] for each in spellings if list(each[:size]) == begun[start:]}
                found |= {token: max(found.get(token, 0.0), nats) for token in next_tokens}
        return found

    def _lacking(self, begun: list[int]) -> list[tuple[Piece, float]]:
        """Words that are not there, found as ``Keywords`` does; of words in order only the first of them."""
        lacking: list[tuple[Piece, float]] = []
        free, after = [True] * len(begun), 0
        for piece, nats in self._pieces:
            place = next((each for each in _places(piece, begun, after) if all(free[each])), None)
            if place is None:
                lacking.append((piece, nats))
                if not self.lock.any_order:
                    break
            else:
                free[place] = [False] * (place.stop - place.start)
                after = 0 if self.lock.any_order else place.stop
        return lacking


def _places(piece: Piece, begun: list[int], after: int) -> Iterator[slice]:
    """Where ``begun`` has the tokens of ``piece``, from ``after`` on."""
    for start in range(after, len(begun)):
        for spelling in piece.spellings_at(start):
            if begun[start : start + len(spelling)] == list(spelling):
                yield slice(start, start + len(spelling))


def _beginnings(x: Tensor, wanted: Tensor) -> list[list[int]]:
    texts = x.tolist()
    return [texts[row][:column] for row, column in wanted.nonzero().tolist()]


def _right_aligned(x: Tensor, counts: Tensor) -> Tensor:
    """The first ``counts [rows]`` tokens of ``x [rows, width]``, at the right end."""
    longest = int(counts.max())
    column = torch.arange(longest, device=x.device) - (longest - counts).unsqueeze(1)
    return pad(x, (0, max(0, longest - x.shape[1]))).gather(1, column.clamp(min=0))


def _with_tokens(read: Tensor, before: Prefixes) -> Prefixes:
    """``read int64 [rows, most]`` as keys and values, which are selected and joined as those of ``before``, beside."""
    tokens = read[:, None, :, None]
    return Prefixes([(tokens, tokens)], before.counts, 0, beside=before)
