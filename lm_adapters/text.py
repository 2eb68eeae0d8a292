"""Texts as states: a tokenizer seen as a space of ``int64 [chains, width]`` tensors.

A state holds token ids without special tokens, right-padded. Adapters add BOS/CLS/SEP when they call a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.energies.text_energy import TextEnergy
from lm_adapters.loading.identity import vocabulary_digest
from samplers import Constraint, EnergyError, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextSpace"]

UNUSED = re.compile(r"\[unused\d+\]|<unused_?\d+>|<extra_?(id_)?\d+>|madeupword\d+")
HALVES = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"  # what a byte that is no text of its own decodes to


class TextSpace:
    """Encode and decode batches, and say which tokens may be proposed.

    ``vocabulary`` is the number of ids that the model scores; it may exceed the tokenizer's.
    Raises ``InvalidInput`` for a tokenizer without a padding (or end) token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary or len(tokenizer)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise InvalidInput("the tokenizer has neither a padding nor an end token; set tokenizer.pad_token")
        self.pad_id: int = pad
        self.mask_id: int | None = tokenizer.mask_token_id
        self.prefix, self.suffix = _frame(tokenizer)

    def config(self) -> dict[str, Any]:
        """What the draws depend on: the tokenizer, by digest, and the number of ids that the model scores."""
        return {"vocabulary": self._digest, "size": self.vocabulary}

    @cached_property
    def _digest(self) -> str:
        return vocabulary_digest(self.tokenizer)

    def encode(self, texts: Sequence[str], width: int | None = None) -> Tensor:
        """``int64 [texts, width]``; by default as wide as the longest text.

        Raises ``InvalidInput`` for no texts, and for one that is empty, too long, or has a special token or a part the
        tokenizer does not know.
        """
        if not texts:
            raise InvalidInput("there is no text to encode; give at least one")
        if broken := [text for text in texts if HALVES.search(text)]:
            raise InvalidInput(f"the text {broken[0]!r} holds half a character, as broken files do; take it out")
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        width = width or max(map(len, rows))
        for text, ids in zip(texts, rows, strict=True):
            if not text.strip() or not ids:
                raise InvalidInput(f"the text {text!r} has no tokens; give at least one word")
            if len(ids) > width:
                raise InvalidInput(f"the text {text!r} has {len(ids)} tokens, the limit is {width}; shorten it")
            if self.tokenizer.unk_token_id in ids or max(ids) >= self.vocabulary:
                raise InvalidInput(f"the tokenizer cannot represent a part of {text!r}; use other characters")
            if special := set(ids).intersection(self.tokenizer.all_special_ids):
                name = self.tokenizer.convert_ids_to_tokens(min(special))
                raise InvalidInput(f"the text {text!r} holds the special token {name!r}; take it out")
        return torch.tensor([ids + [self.pad_id] * (width - len(ids)) for ids in rows])

    def decode(self, x: Tensor) -> list[str]:
        rows = [row[: int(n)].tolist() for row, n in zip(x.cpu(), self.lengths(x).cpu(), strict=True)]
        return self.tokenizer.batch_decode(rows)

    def inside(self, x: Tensor) -> Tensor:
        """``bool [chains, width]``: where a text token stands."""
        return x != self.pad_id

    def lengths(self, x: Tensor) -> Tensor:
        """``int64 [chains]`` in tokens."""
        return self.inside(x).sum(dim=1)

    def masks(self, lengths: Sequence[int] | Tensor, width: int | None = None) -> Tensor:
        """States of nothing but mask tokens, to start from."""
        lengths = torch.as_tensor(lengths)
        if self.mask_id is None:
            raise InvalidInput("the tokenizer has no mask token; start from a text")
        width = width or int(lengths.max())
        return torch.where(torch.arange(width) < lengths.unsqueeze(1), self.mask_id, self.pad_id)

    @cached_property
    def proposable(self) -> Tensor:
        """``bool [vocabulary]``: tokens that are text by themselves.

        Never special, unknown, unused or reserved ones, nor ids beyond the tokenizer, nor pieces of a character.
        """
        tokenizer = self.tokenizer
        allowed = torch.zeros(self.vocabulary, dtype=torch.bool)
        known = min(len(tokenizer), self.vocabulary)
        names = tokenizer.convert_ids_to_tokens(list(range(known)))
        for index, (name, text) in enumerate(
            zip(names, tokenizer.batch_decode([[i] for i in range(known)]), strict=True)
        ):
            allowed[index] = bool(text.strip()) and REPLACEMENT not in text and not UNUSED.fullmatch(name)
        special = [i for i in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} if i < self.vocabulary]
        allowed[special] = False
        return allowed

    @cached_property
    def continues(self) -> Tensor:
        """``bool [vocabulary]``: proposable tokens that, standing after a word, go on with that word."""
        candidates = self.proposable.nonzero().squeeze(1).tolist()
        texts = self.tokenizer.batch_decode([[i] for i in candidates])
        # A letter is the most harmless word to stand after; without one there are no words to go on with.
        word = next((i for i, text in zip(candidates, texts, strict=True) if text.strip().isalpha()), None)
        found = torch.zeros(self.vocabulary, dtype=torch.bool)
        if word is not None:
            start = len(self.tokenizer.decode([word]))
            pairs = self.tokenizer.batch_decode([[word, i] for i in candidates])
            found[candidates] = torch.tensor([text[start : start + 1].isalnum() for text in pairs])
        return found

    def is_canonical(self, x: Tensor) -> Tensor:
        """``bool [chains]``: ``encode(decode(x)) == x``. Two tokenisations of one text are two states."""
        rows = self.tokenizer(self.decode(x), add_special_tokens=False)["input_ids"]
        lengths = self.lengths(x).tolist()
        same = [ids == row[:n] for ids, row, n in zip(rows, x.tolist(), lengths, strict=True)]
        return torch.tensor(same, device=x.device)

    def canonical(self) -> Constraint:
        """Forbids every tokenisation of a text but the tokenizer's own."""
        return Constraint("canonical", self.is_canonical)

    @contextmanager
    def texts_in_errors(self) -> Iterator[None]:
        """Fill in the ``texts`` of an ``EnergyError`` that leaves the block."""
        try:
            yield
        except EnergyError as error:
            if error.x is not None and not error.texts:
                error.texts = self.decode(error.x)
            raise

    def energy(self, function: Callable[[list[str]], Sequence[float]], name: str | None = None) -> TextEnergy:
        """A plain function of texts, in nats, as an energy of states."""
        return TextEnergy(function, self.decode, name)


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and after a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    places = range(len(framed) - len(plain) + 1)
    start = next((i for i in places if framed[i : i + len(plain)] == plain), None)
    if start is None:
        raise InvalidInput("the tokenizer changes a text that it puts special tokens around; choose another model")
    return framed[:start], framed[start + len(plain) :]
