"""What a proposal passes to the energy of the same model, so that no forward pass is run twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.models.masked_lm import MaskedLM

__all__ = ["SiteHint", "TextHint"]


@dataclass(frozen=True)
class SiteHint:
    """Logits at the single site of each row that a proposal redrew.

    The proposal's pass masks the site in a context that old and new state share, so it is one of the passes that
    ``MaskedEnergy`` of the new state needs.

    ``site``, ``token``: ``int64 [rows]``, the column that was redrawn (-1: nothing is known) and what it now holds.
    ``logits [passed rows, vocabulary]`` are those of the proposal's pass; ``row int64 [rows]`` selects from them.
    ``block bool [rows, width]``: all sites that were redrawn, where there are more.
    """

    model: MaskedLM
    site: Tensor
    token: Tensor
    row: Tensor
    logits: Tensor
    block: Tensor | None = None

    @classmethod
    def of(cls, model: MaskedLM, hidden: Tensor, logits: Tensor, drawn: Tensor) -> SiteHint:
        """For rows with one site each in ``hidden bool [rows, width]`` and ``drawn int64 [rows]`` put there."""
        return cls(model, hidden.long().argmax(dim=1), drawn, torch.arange(len(drawn), device=drawn.device), logits)

    def known_where(self, known: Tensor) -> SiteHint:
        """``known bool [rows]``: rows where the redrawn site is one of the new state."""
        return replace(self, site=self.site.where(known, -1))

    def redrawn(self, width: int) -> Tensor:
        """``bool [rows, width]``: the sites whose tokens are new."""
        if self.block is not None:
            return self.block
        return torch.arange(width, device=self.site.device) == self.site.unsqueeze(1)

    def __getitem__(self, rows: Tensor) -> SiteHint:
        block = None if self.block is None else self.block[rows]
        return replace(self, site=self.site[rows], token=self.token[rows], row=self.row[rows], block=block)


@dataclass(frozen=True)
class TextHint:
    """``nlls float64 [rows]``: ``-log p(x)`` in nats of the proposed texts under ``model``, NaN where unknown.

    ``endless float64 [rows]``: the same without the end of the text, if it is known. ``each float64 [rows, width]``:
    that of each token, likewise.
    """

    model: Autoregressive
    nlls: Tensor
    endless: Tensor | None = None
    each: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> TextHint:
        endless = None if self.endless is None else self.endless[rows]
        each = None if self.each is None else self.each[rows]
        return replace(self, nlls=self.nlls[rows], endless=endless, each=each)

    @classmethod
    def join(cls, parts: Sequence[TextHint]) -> TextHint:
        """All rows of ``parts``, which are of one model."""
        endless = [part.endless for part in parts if part.endless is not None]
        return replace(
            parts[0],
            nlls=torch.cat([part.nlls for part in parts]),
            endless=torch.cat(endless) if len(endless) == len(parts) else None,
            each=None,
        )
