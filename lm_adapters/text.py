"""Texts as states: a tokenizer as a space of ``int64 [chains, width]`` tensors.

A state holds token ids without special tokens, right-padded. Adapters add BOS, CLS or SEP when they call a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.detokenize import Detokenizer, what_is_lost
from lm_adapters.fingerprint import vocabulary_digest
from lm_adapters.plain_tokens import plain_tokens, special_ids
from lm_adapters.unusable_text import place, quoted, what_is_wrong
from lm_adapters.word_edges import ENDS, SCRIPT, edge_after_word, edge_before_word, is_letter
from samplers import EnergyError, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextSpace"]

SURROGATES = re.compile("[\ud800-\udfff]")


class TextSpace:
    """Encodes and decodes batches of texts, and marks the tokens that may be proposed.

    ``vocabulary`` is the number of ids that the model scores, by default the tokenizer's; it may be larger. ``prefix``
    and ``suffix`` are the special tokens that the tokenizer puts around a text.

    Raises ``InvalidInput`` for a tokenizer without a padding or end token, and for one that tokenises a text
    differently between special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary or len(tokenizer)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise InvalidInput("the tokenizer has neither a padding nor an end token; set tokenizer.pad_token")
        self.pad_id: int = pad
        self.mask_id: int | None = tokenizer.mask_token_id
        self.prefix, self.suffix = _special_tokens_around(tokenizer)

    def config(self) -> dict[str, Any]:
        """What draws depend on: the tokenizer, by digest, and the number of ids that the model scores."""
        return {"vocabulary": self._digest, "size": self.vocabulary}

    @cached_property
    def _digest(self) -> str:
        return vocabulary_digest(self.tokenizer)

    def encode(self, texts: Sequence[str], width: int | None = None) -> Tensor:
        """States ``int64 [texts, width]``; ``width`` in tokens is by default that of the longest text.

        Raises ``InvalidInput`` for no texts, and for a text that is empty, longer than ``width``, contains a special
        token, or has a part that the tokenizer cannot represent.
        """
        if not texts:
            raise InvalidInput("there is no text to encode; give at least one")
        for text in texts:
            if half := SURROGATES.search(text):
                where = place(text, half.start())
                raise InvalidInput(f"half a character (a lone surrogate) stands {where}; remove it")
        rows = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        width = width or max(map(len, rows))
        for text, ids in zip(texts, rows, strict=True):
            if not text.strip() or not ids:
                raise InvalidInput(f"the text {quoted(text)} has no tokens; give at least one word")
            if len(ids) > width:
                raise InvalidInput(f"the text {quoted(text)} has {len(ids)} tokens, the limit is {width}; shorten it")
            if self.cannot_be_text(ids):
                raise InvalidInput(self.what_is_wrong(text, ids))
        return torch.tensor([ids + [self.pad_id] * (width - len(ids)) for ids in rows])

    def decode(self, x: Tensor) -> list[str]:
        """The text of each state of ``x int64 [chains, width]``, written as people write it (see ``detokenize``)."""
        return self._detokenizer([row[:n] for row, n in zip(x.tolist(), self.lengths(x).tolist(), strict=True)])

    @cached_property
    def lost(self) -> list[str]:
        """What sets decoded texts apart from those that people write, such as "no capital letters"."""
        return what_is_lost(self.tokenizer)

    @cached_property
    def _detokenizer(self) -> Detokenizer:
        return Detokenizer(self.tokenizer)

    def is_state(self, x: Tensor) -> Tensor:
        """``bool [chains]``: whether all ids are those of tokens, and nothing comes after padding."""
        known = ((x >= 0) & (x < self.vocabulary)).all(dim=1)
        token = self.is_token(x)
        return known & (token[:, 1:] <= token[:, :-1]).all(dim=1)

    def is_token(self, x: Tensor) -> Tensor:
        """``bool [chains, width]``: True at tokens of the text, False at padding."""
        return x != self.pad_id

    def lengths(self, x: Tensor) -> Tensor:
        """``int64 [chains]``: the number of tokens of each text."""
        return self.is_token(x).sum(dim=1)

    def masks(self, lengths: Sequence[int] | Tensor, width: int | None = None) -> Tensor:
        """States ``int64 [chains, width]`` of mask tokens only, ``lengths`` of them each, for ``fill_masks``.

        Raises ``InvalidInput`` for a tokenizer without a mask token.
        """
        lengths = torch.as_tensor(lengths)
        if self.mask_id is None:
            raise InvalidInput("the tokenizer has no mask token; start from a text")
        width = width or int(lengths.max())
        return torch.where(torch.arange(width) < lengths.unsqueeze(1), self.mask_id, self.pad_id)

    @cached_property
    def proposable(self) -> Tensor:
        """``bool [vocabulary]``: tokens that a move may propose, because they are text by themselves.

        Not among them: special, unknown, unused and reserved tokens, ids beyond the tokenizer, pieces of a character,
        line ends, tabs and runs of spaces.
        """
        return plain_tokens(self.tokenizer, self.vocabulary)

    def fixed(self, x: Tensor) -> Tensor:
        """``bool [chains, width]``: tokens of the text that are never proposed, so that no move can change them.

        A text may hold them (the bytes of an emoji, a tab); they stay where they are. Masks are not among them.
        """
        if self._fixed.device != x.device:
            self._fixed = self._fixed.to(x.device)
        return self._fixed[x] & self.is_token(x)

    def changeable(self, x: Tensor) -> Tensor:
        """``bool [chains, width]``: tokens of the text that are not ``fixed``; False at padding."""
        if self._changeable.device != x.device:
            self._changeable = self._changeable.to(x.device)
        return self._changeable[x]

    @cached_property
    def _changeable(self) -> Tensor:
        changeable = ~self._fixed
        changeable[self.pad_id] = False
        return changeable

    @cached_property
    def _fixed(self) -> Tensor:
        fixed = ~self.proposable
        if self.mask_id is not None and self.mask_id < self.vocabulary:
            fixed[self.mask_id] = False
        return fixed

    def word_edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``uint8 [chains, width]`` each: what each token is to a word before it, and to one after it without a space.

        One of the kinds of ``lm_adapters.word_edges``, from what the token writes after a word. Padding
        ends a word.
        """
        if self._edges.device != x.device:
            self._edges = self._edges.to(x.device)
        after, before = self._edges[:, x].where(self.is_token(x), ENDS)
        return after, before

    @cached_property
    def _edges(self) -> Tensor:
        texts = self.after_word([[token] for token in range(min(len(self.tokenizer), self.vocabulary))])
        edges = torch.full((2, self.vocabulary), ENDS, dtype=torch.uint8)
        for row, edge in enumerate((edge_after_word, edge_before_word)):
            edges[row, : len(texts)] = torch.tensor([edge(text) for text in texts], dtype=torch.uint8)
        return edges

    @cached_property
    def has_unspaced(self) -> bool:
        """Whether there are tokens of a script that puts no spaces between words."""
        return bool((self._edges[1] == SCRIPT).any())

    @property
    def sets_spaces(self) -> bool:
        """Whether spaces are set by rule where the tokenizer does not keep them, and not by the tokens one by one."""
        return self._detokenizer.restores

    def after_word(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """What the tokens of each row write after a word of letters, the space before it included."""
        word, *texts = self._detokenizer([self._word, *([*self._word, *row] for row in rows)])
        return [text[len(word) :] for text in texts]

    @cached_property
    def _word(self) -> list[int]:
        """A token of letters; none where the tokenizer has none that could be part of a longer word."""
        tokens = [[i] for i in self.proposable.nonzero().squeeze(1).tolist()]
        texts = [text.strip() for text in self.tokenizer.batch_decode(tokens)]
        words = [token for token, text in zip(tokens, texts, strict=True) if text.isascii() and text.isalpha()]
        parts = (token for token, text in zip(tokens, texts, strict=True) if is_letter(text[-1:] or " "))
        return words[0] if words else next(parts, [])

    def is_canonical(self, x: Tensor) -> Tensor:
        """``bool [chains]``: whether ``encode(decode(x)) == x``, as the constraint ``Canonical`` requires."""
        rows = self.tokenizer(self.decode(x), add_special_tokens=False)["input_ids"]
        lengths = self.lengths(x).tolist()
        same = [ids == row[:n] for ids, row, n in zip(rows, x.tolist(), lengths, strict=True)]
        return torch.tensor(same, device=x.device)

    @contextmanager
    def texts_in_errors(self) -> Iterator[None]:
        """Add the decoded ``texts`` to an ``EnergyError`` that is raised in this context."""
        try:
            yield
        except EnergyError as error:
            if error.x is not None and not error.texts:
                error.texts = self.decode(error.x)
            raise

    @cached_property
    def _special(self) -> frozenset[int]:
        return special_ids(self.tokenizer)

    def cannot_be_text(self, ids: Sequence[int]) -> bool:
        """Whether a special or unknown token, or one beyond the vocabulary, is among ``ids``."""
        unknown = self.tokenizer.unk_token_id in ids or max(ids, default=0) >= self.vocabulary
        return unknown or not self._special.isdisjoint(ids)

    def what_is_wrong(self, text: str, ids: Sequence[int]) -> str:
        """One line for a text whose tokens ``ids`` hold what ``cannot_be_text``: which part, and where it is."""
        return what_is_wrong(text, ids, self.tokenizer, self.cannot_be_text)


def _special_tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids of the special tokens that the tokenizer puts before and after a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    places = range(len(whole) - len(plain) + 1)
    start = next((i for i in places if whole[i : i + len(plain)] == plain), None)
    if start is None:
        raise InvalidInput("the tokenizer changes a text that it puts special tokens around; choose another model")
    return whole[:start], whole[start + len(plain) :]
