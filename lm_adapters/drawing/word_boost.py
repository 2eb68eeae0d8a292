"""Words that must come, made likelier where a model that reads from left to right writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.piece import Piece
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["WordBoost"]


class WordBoost:
    """``p(x_j | x_<j) exp(b)`` in place of ``p(x_j | x_<j)``, up to a factor: the ``boost`` of a distribution of texts.

    ``b`` is the ``nats`` of a word of ``lock`` that ``x_<j`` lacks for the token that begins it or goes on with it,
    minus the most of such ``nats`` for the end, and 0 otherwise: the words come where the model finds them less out of
    place than elsewhere. For proposals: a model that has not read the words hardly ever writes a rare one. A word whose
    best place costs as many nats as are given is written there about every other time. No text that the model holds
    possible is impossible, and whether the words stand as words in what was drawn is for the law to say.

    Reference: Pascual et al. 2021 (arXiv:2109.09707), who shift the logits of a word and all like it, to decode.
    Cost: no model call. Raises ``InvalidInput`` unless there is a number of nats that is not negative for each word.
    """

    def __init__(self, lock: Keywords, nats: Sequence[float]) -> None:
        if len(nats) != len(lock.words) or not all(0 <= each < math.inf for each in nats):
            raise InvalidInput(f"nats are {list(nats)}; give a number for each of {len(lock.words)} words, 0 or more")
        self.lock, self.nats = lock, list(nats)
        self._pieces = list(zip(lock.spelt, nats, strict=True))
        if lock.any_order:
            self._pieces.sort(key=lambda each: -max(map(len, each[0].spellings)))

    def config(self) -> dict[str, Any]:
        return {"lock": self.lock, "nats": self.nats}

    def check(self, space: TextSpace) -> None:
        """Raise ``InvalidInput`` where the words are spelt in other tokens than those of ``space``."""
        if self.lock.space.tokenizer.get_vocab() != space.tokenizer.get_vocab():
            raise InvalidInput("the words are spelt in other tokens than the model's; give them in its own")

    def shifted(self, logits: Tensor, begun: Tensor, place: Tensor, end_id: int) -> Tensor:
        """``logits [rows, vocabulary]`` and their ``b`` after the first ``place int64 [rows]`` tokens of ``begun``.

        ``begun int64 [rows, any]``; ``end_id``: the token that ends a text.
        """
        texts = [text[:count] for text, count in zip(begun.tolist(), place.tolist(), strict=True)]
        boosted = [
            (row, token, nats) for row, text in enumerate(texts) for token, nats in self._boosts(text, end_id).items()
        ]
        if not boosted:
            return logits
        row, token, nats = zip(*boosted, strict=True)
        at = torch.tensor([row, token], device=logits.device)
        return logits.index_put(tuple(at), logits.new_tensor(nats), accumulate=True)

    def _boosts(self, begun: list[int], end_id: int) -> dict[int, float]:
        """Nats for each token that begins a word that ``begun`` lacks, or goes on one, and for the end."""
        found: dict[int, float] = {}
        for piece, nats in self._lacking(begun):
            found[end_id] = min(found.get(end_id, 0.0), -nats)
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
