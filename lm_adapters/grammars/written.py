"""What tokens write: the text of a state as a grammar reads it, and the share of each token in it."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = ["Written"]

TRIED, LONG = 256, 6  # texts of random tokens on which it is tried that tokens write each their own part


class Written:
    """Texts of states without the space that some tokenizers keep before the first word."""

    def __init__(self, space: TextSpace) -> None:
        self.space = space

    def texts(self, x: Tensor) -> list[str]:
        """One a row of ``x int64 [rows, width]``."""
        return [text.removeprefix(self._kept) for text in self.space.decode(x)]

    @cached_property
    def parts(self) -> list[str | None]:
        """What each token of the vocabulary writes after a word; ``None`` of tokens that are never proposed.

        The text of proposable tokens is the parts of all, without a space at its beginning. Raises ``InvalidInput`` for
        a tokenizer of which that is not so, because its spaces are set by rule.
        """
        tokens = self.space.proposable.nonzero().squeeze(1).tolist()
        parts: list[str | None] = [None] * self.space.vocabulary
        for token, part in zip(tokens, self.space.after_word([[token] for token in tokens]), strict=True):
            parts[token] = part
        rng = torch.Generator().manual_seed(0)
        drawn = torch.tensor(tokens)[torch.randint(len(tokens), (TRIED, LONG), generator=rng)]
        joined = ["".join(parts[token] or "" for token in row).removeprefix(" ") for row in drawn.tolist()]
        if self.space.sets_spaces or joined != self.texts(drawn):
            raise InvalidInput(
                "the model's tokenizer sets spaces by rule, so that no token can be told to fit a grammar by itself; "
                "use a model with another tokenizer, or the constraint Matches alone"
            )
        return parts

    @cached_property
    def _kept(self) -> str:
        """The space before the first word, where the tokenizer's texts keep it; or nothing."""
        tokens = self.space.proposable.nonzero().squeeze(1).tolist()
        after = self.space.after_word([[token] for token in tokens])
        spaced = [token for token, part in zip(tokens, after, strict=True) if part[:1] == " "]
        others = [token for token, part in zip(tokens, after, strict=True) if part[:1] != " "]
        return " " if spaced and self.space.decode(torch.tensor([[spaced[0], *others[:1]]]))[0][:1] == " " else ""
