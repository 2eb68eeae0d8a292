"""What a scorer that reads from left to right has to offer, whatever it is conditioned on.

``SequenceEnergy``, ``SequenceDistribution`` and ``SuffixProposal`` are written against this protocol alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lm_adapters.forward.kv_cache import Prefixes
    from lm_adapters.text import TextSpace

__all__ = ["Autoregressive", "ended"]


class Autoregressive(Protocol):
    """``p(x) = prod_j p(x_j | x_<j) p(end | x)`` over texts ``x``, with all that it is conditioned on inside.

    ``read`` keeps what a pass has read as ``Prefixes``, and ``extend`` goes on from there. Logits come in parts, each
    made when it is asked for, and once.
    """

    @property
    def lm(self) -> object:
        """The model that reads: what is told where memory ends."""

    @property
    def space(self) -> TextSpace:
        """Of the states that are scored."""

    @property
    def eos_id(self) -> int:
        """The token that ends a text; no text holds it."""

    @property
    def allowed(self) -> Tensor:
        """``bool [vocabulary]``, on the model's device: ``space.proposable``."""

    @property
    def max_length(self) -> int:
        """Tokens of text that fit beside the context."""

    @property
    def tokens_per_pass(self) -> int:
        """Bound on the tokens of text in one forward pass, padding included."""

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """``[wanted positions, vocabulary]``, row-major, in one forward pass; only these reach the head.

        ``x int64 [rows, width]`` are states. ``wanted bool [rows, width + 1]`` at ``j`` asks for the distribution of
        token ``j`` given ``x[:, :j]``; ``j`` equal to the length is the end.
        """

    @property
    def ragged(self) -> bool:
        """Whether ``extend`` takes prefixes of unlike length together."""

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and all tokens that the pass has read: of each row as many as the last wanted column needs."""

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Read ``tokens int64 [rows, m]`` behind ``before``: logits of what follows each ``wanted bool [rows, m]``.

        Of these alone, row-major, as in ``logits``. Tokens right of what is wanted may be any.
        """


def ended(model: Autoregressive, x: Tensor) -> Tensor:
    """``int64 [rows, width + 1]``: each text followed by its end, then padding."""
    longer = torch.nn.functional.pad(x, (0, 1), value=model.space.pad_id)
    return longer.scatter_(1, model.space.lengths(x).unsqueeze(1), model.eos_id)
