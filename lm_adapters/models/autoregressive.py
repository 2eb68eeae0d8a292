"""The protocol of models that read from left to right, whatever they are conditioned on.

``SequenceEnergy``, ``SequenceDistribution`` and ``SuffixProposal`` need nothing else: implement it to adapt a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_adapters.forward.kv_cache import Prefixes
    from lm_adapters.text import TextSpace

__all__ = ["Autoregressive", "with_end_token"]


class Autoregressive(Protocol):
    """``p(x) = prod_j p(x_j | x_<j) p(end | x)`` over texts ``x``, given a prompt, a source or nothing.

    ``read`` returns the keys and values of what a pass has read as ``Prefixes``, and ``extend`` continues from them.
    Logits come as an iterator over parts of rows, each computed when it is reached; iterate once.
    """

    @property
    def lm(self) -> object:
        """The model itself, named in warnings and errors about memory."""

    @property
    def space(self) -> TextSpace:
        """The space of the states that are scored."""

    @property
    def eos_id(self) -> int:
        """The token that ends a text; it never occurs in one."""

    @property
    def allowed(self) -> Tensor:
        """``bool [vocabulary]``, on the model's device: ``space.proposable``."""

    @property
    def max_length(self) -> int:
        """The most tokens of text that fit beside the context."""

    @property
    def tokens_per_pass(self) -> int:
        """The most tokens of text in one forward pass, padding included."""

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``, row-major, from one forward pass; only these reach the head.

        ``x int64 [rows, width]`` are states. ``wanted bool [rows, width + 1]`` marks at ``j`` the distribution of token
        ``j`` given ``x[:, :j]``; ``j`` equal to the length is the end.
        """

    @property
    def ragged(self) -> bool:
        """Whether ``extend`` takes prefixes of different lengths in one pass."""

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and the tokens that the pass has read: in each row as many as the last wanted column needs."""

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Read ``tokens int64 [rows, m]`` after ``before``: logits of what follows each token that is wanted.

        ``wanted bool [rows, m]``; logits ``[wanted positions, vocabulary]`` row-major, as in ``logits``. Tokens right
        of what is wanted may be anything.
        """


def with_end_token(model: Autoregressive, x: Tensor) -> Tensor:
    """``int64 [rows, width + 1]``: each text of ``x int64 [rows, width]``, then the end token, then padding."""
    longer = torch.nn.functional.pad(x, (0, 1), value=model.space.pad_id)
    return longer.scatter_(1, model.space.lengths(x).unsqueeze(1), model.eos_id)
