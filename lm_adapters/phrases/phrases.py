"""Texts that are one of a list of phrases, or hold one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.locks.base import Lock
from lm_adapters.locks.span_matching import tokens_after
from lm_adapters.phrases.token_trie import TokenTrie, flat
from lm_adapters.text import TextSpace
from lm_adapters.word_edges import JOINED, LETTER, MARKED, UNSURE
from samplers import InvalidInput

__all__ = ["Phrases"]

TOGETHER = 20_000  # phrases that are spelt in one call: more take memory, not less time
START, INSIDE = 0, 1  # roots of the trie: phrases as at the start of a text, and as after a space
ANY_WORD = "a"


class Phrases(Lock):
    """The text is one of ``phrases``, or with ``within`` it holds one: a list of any size, kept as a trie of tokens.

    The whole text: in the tokens that the tokenizer gives the phrase. Within a text: in those that it has at the start
    of a text, where it stands there, or after a space, and the tokens after it must not continue its last word
    (``lm_adapters.word_edges``); unlike for ``Keywords``, tokens alone decide. The span is the leftmost that is a
    phrase, and of those the longest. Two phrases with the same tokens are one. Memory: eleven bytes for each token that
    begins no other phrase likewise, twice that ``within`` a text; the phrases themselves are not kept. With ``spaced``
    a whole text is spelt as after a space: what a model writes into a slot of a text (``slot_reader``).

    Raises ``InvalidInput``, with the number of the phrase from 1, for one that is empty or cannot be tokenised without
    a special or unknown token; for no phrases.
    """

    name = "phrases"

    def __init__(self, space: TextSpace, phrases: Iterable[str], *, within: bool = False, spaced: bool = False) -> None:
        named = ((f"phrase {number}", phrase) for number, phrase in enumerate(phrases, 1))
        self._spell(space, named, within, spaced)

    @classmethod
    def read(cls, space: TextSpace, path: str | Path, *, within: bool = False, spaced: bool = False) -> Phrases:
        """From a UTF-8 file with a phrase a line; blank lines are left out. Read once, from end to end.

        Raises ``InvalidInput`` as the class does, with the line, and for a file that cannot be read.
        """
        made = cls.__new__(cls)
        made._spell(space, _lines(Path(path)), within, spaced)
        return made

    def _spell(self, space: TextSpace, phrases: Iterator[tuple[str, str]], within: bool, spaced: bool) -> None:
        if within and spaced:
            raise InvalidInput("spaced is for whole texts, and within has both spellings; leave one of them out")
        self.space, self.within, self.spaced = space, within, spaced
        parts: list[tuple[NDArray[np.int32], NDArray[np.int64], int]] = []
        while some := [*islice(phrases, TOGETHER)]:
            parts += self._tokens(some)
        if not parts:
            raise InvalidInput("there are no phrases; give at least one")
        tokens, sizes, roots = zip(*parts, strict=True)
        root = np.concatenate([np.full(len(size), number) for size, number in zip(sizes, roots, strict=True)])
        self.trie = TokenTrie.of(np.concatenate(tokens), np.concatenate(sizes), root, space.vocabulary)
        self.min_length = int(self.trie.nearest[: self.trie.roots].min())

    def config(self) -> dict[str, Any]:
        """What draws depend on: the phrases, by digest."""
        return {"space": self.space, "within": self.within, "phrases": self.trie.digest}

    def __len__(self) -> int:
        """How many different phrases there are."""
        return self._count

    def states(self, size: int) -> Iterator[Tensor]:
        """All phrases as whole texts, ``int64 [at most size, longest]`` at a time, by their tokens."""
        nodes = self._whole
        width = self.trie.depth
        nodes = nodes[self.trie.ends[nodes]]
        for first in range(0, len(nodes), size):
            rows = self.trie.sequences(nodes[first : first + size], self.space.pad_id)
            yield pad(rows, (0, width - rows.shape[1]), value=self.space.pad_id)

    def pieces(self, x: Tensor) -> Tensor:
        start, size = self.span(x)
        column = torch.arange(x.shape[1], device=x.device)
        return ((column >= start.unsqueeze(1)) & (column < (start + size).unsqueeze(1))).long()

    def span(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """First column and size of the span that is a phrase, ``int64 [chains]`` each; size 0 where there is none."""
        trie, width = self.trie_on(x.device), x.shape[1]
        if not self.within:
            nodes = trie.walk(torch.zeros_like(x[:, 0]), pad(x, (0, 1), value=self.space.pad_id)[:, : trie.depth + 1])
            lengths = self.space.lengths(x)
            last = nodes.gather(1, lengths.clamp(max=trie.depth).unsqueeze(1)).squeeze(1)
            known = (lengths > 0) & (lengths <= trie.depth) & (last >= 0) & trie.ends[last]
            return torch.zeros_like(lengths), lengths.where(known, 0)
        after, _ = self.space.word_edges(x)
        goes_on = (after == LETTER) | (after == JOINED) | (after == MARKED)
        # A mark that may join, such as a hyphen by itself, does so where the word goes on behind it.
        goes_on[:, :-1] |= (after[:, :-1] == UNSURE) & goes_on[:, 1:]
        goes_on = pad(goes_on, (0, trie.depth + 1), value=False)
        tokens = pad(x, (0, trie.depth), value=self.space.pad_id)
        sizes = torch.zeros_like(x)
        node = self.root(torch.arange(width, device=x.device)).expand_as(x)
        for size in range(1, trie.depth + 1):
            node = trie.child(node, tokens[:, size - 1 : size - 1 + width])
            ended = (node >= 0) & trie.ends[node] & ~goes_on[:, size : size + width]
            sizes = torch.where(ended, size, sizes)
        start = (sizes > 0).long().argmax(dim=1)
        return start, sizes.gather(1, start.unsqueeze(1)).squeeze(1)

    def root(self, column: Tensor) -> Tensor:
        """``int64 [rows]``: the root of the trie for phrases that begin at each ``column``."""
        return torch.where(column == 0, START, INSIDE) if self.within else torch.zeros_like(column)

    @property
    def clause(self) -> str:  # type: ignore[override]
        return f"that {'hold' if self.within else 'are'} one of {len(self):,} phrases"

    def __str__(self) -> str:
        return f"the {len(self):,} phrases"

    def trie_on(self, device: torch.device) -> TokenTrie:
        """The trie, moved there at the first call."""
        if self.trie.keys.device != device:
            self.trie = self.trie.to(device)
        return self.trie

    @cached_property
    def _count(self) -> int:
        return int(self.trie.ends[self._whole].sum())

    @property
    def _whole(self) -> Tensor:
        """``int64``: all nodes of phrases as at the start of a text."""
        device = self.trie.keys.device
        if self.trie.roots == 1:
            return torch.arange(1, len(self.trie.ends), device=device)
        level, found = torch.tensor([START], device=device), []
        while len(level):
            _, level = self.trie.below(level)
            found.append(level)
        return torch.cat(found)

    def _tokens(self, named: Sequence[tuple[str, str]]) -> list[tuple[NDArray[np.int32], NDArray[np.int64], int]]:
        """Of phrases that are ``named``: tokens one after the other, their numbers, and the root they belong to."""
        phrases = [phrase.strip() for _, phrase in named]
        rows = self.space.tokenizer(phrases, add_special_tokens=False, verbose=False)["input_ids"]
        tokens, sizes = flat(rows)
        self._check(named, tokens, sizes)
        if not (self.within or self.spaced):
            return [(tokens, sizes, START)]
        head = self.space.tokenizer(ANY_WORD, add_special_tokens=False)["input_ids"]
        after = [f"{ANY_WORD} {phrase}" for phrase in phrases]
        rows = self.space.tokenizer(after, add_special_tokens=False, verbose=False)["input_ids"]
        inside = flat(
            [
                row[len(head) :] if row[: len(head)] == head else tokens_after(self.space, phrase, " ")
                for row, phrase in zip(rows, phrases, strict=True)
            ]
        )
        return [(*inside, START)] if self.spaced else [(tokens, sizes, START), (*inside, INSIDE)]

    def _check(self, named: Sequence[tuple[str, str]], tokens: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
        bad = np.append(self._barred, True)[np.minimum(tokens, len(self._barred))]
        wrong = {*np.repeat(np.arange(len(sizes)), sizes)[bad].tolist(), *np.flatnonzero(sizes == 0).tolist()}
        if wrong:
            where, phrase = named[min(wrong)]
            try:
                self.space.encode([phrase])
            except InvalidInput as error:
                raise InvalidInput(f"{where}: {error}") from error

    @cached_property
    def _barred(self) -> NDArray[np.bool_]:
        """Of each token, whether it can be no text."""
        return np.array([self.space.cannot_be_text([token]) for token in range(self.space.vocabulary)])


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each phrase stands, and the phrase."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{str(path)!r}, line {number}", line.strip()
    except OSError as error:
        raise InvalidInput(
            f"{str(path)!r} cannot be read ({error.strerror}); give a file with a phrase a line"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{str(path)!r} is no UTF-8 text (byte {error.start}); give a file with a phrase a line"
        ) from error
