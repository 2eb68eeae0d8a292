"""Energies of a masked language model: pseudo-log-likelihood, and the sum of raw logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from lm_adapters.energies.hints import SiteHint, TextHint
from lm_adapters.forward.log_probs import token_nlls
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.masked_lm import MaskedLM
from samplers import EnergyTerm, InvalidInput

__all__ = ["MaskedEnergy"]

EnergyKind = Literal["raw", "pll"]
WAVES, OF_A_WHOLE_TEXT = 3, 4  # parts in which a text that may be rejected is scored


class MaskedEnergy(EnergyTerm):
    """``sum over sites i of -f(x_i | x with site i masked)`` in nats, under a masked language model.

    ``kind``
        ``pll``: ``f`` is the log-softmax over the model's whole vocabulary, so the energy is minus the
        pseudo-log-likelihood (Salazar et al. 2020, arXiv:1910.14659, eq. 1; E_norm of Goyal et al.).
        ``raw``: ``f`` is the logit (Goyal et al. 2021, arXiv:2106.02736, E_raw).
    Cost
        One masked row for each token, in as few passes as ``tokens_per_pass`` allows, the head at the masked sites
        only. After a proposal of the same model that redrew one site, ``length - 1`` rows: a ``SiteHint`` has the
        logits of that site. A proposal under ``pll`` is scored in waves and no further once it is sure to be rejected,
        as all terms are 0 or more: in three, the redrawn sites and those next to them first, or, where a ``TextHint``
        of any model says how likely each token was, in four, the least likely first.

    Raises ``InvalidInput`` for another ``kind``, and for a text longer than the model takes.
    """

    expensive = True

    def __init__(self, model: MaskedLM, kind: EnergyKind) -> None:
        if kind not in ("raw", "pll"):
            raise InvalidInput(f"the energy kind is {kind!r}; choose 'raw' or 'pll'")
        self.model, self.kind, self.name = model, kind, kind

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return 0.0 if self.kind == "pll" else -math.inf

    @property
    def stops_early(self) -> bool:
        """Sums of terms that are all 0 or more can only rise."""
        return self.kind == "pll"

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self._total(x, hint, None)

    def values_within(self, x: Tensor, limit: Tensor, hint: Any = None) -> Tensor:
        return self._total(x, hint, limit if self.stops_early else None)

    def _total(self, x: Tensor, hint: Any, limit: Tensor | None) -> Tensor:
        todo, terms = self.model.space.is_token(x), torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        drawn = hint.each if isinstance(hint, TextHint) else None
        hint = hint if isinstance(hint, SiteHint) and hint.model is self.model else None
        if hint is not None:
            known = self._terms(hint.logits[hint.row], hint.token).where(hint.site >= 0, 0.0)
            terms.scatter_(1, hint.site.clamp(min=0).unsqueeze(1), known.unsqueeze(1))
            todo &= torch.arange(x.shape[1], device=x.device) != hint.site.unsqueeze(1)
        above = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        count = WAVES if drawn is None else OF_A_WHOLE_TEXT
        for wave in [todo] if limit is None else _waves(todo, _order(todo, hint, drawn), count):
            for rows, sites, found in self._passes(x, wave & ~above.unsqueeze(1)):
                terms[rows, sites] = found
            # Added from left to right, so that the waves change no bit and no part of a sum exceeds the whole.
            total = terms.cumsum(dim=1)[:, -1]
            if limit is not None:
                above |= total > limit
        return total.masked_fill(above, math.inf)

    def site_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width]`` in nats: the share of each site in the energy, 0 at padding."""
        total = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for rows, sites, terms in self._passes(x, self.model.space.is_token(x)):
            total[rows, sites] = terms
        return total

    def _site_terms(self, x: Tensor, sites: Tensor) -> Tensor:
        hidden = torch.zeros_like(x, dtype=torch.bool).scatter(1, sites.unsqueeze(1), True)
        logits = self.model.logits(x, hidden)
        return self._terms(logits, x.gather(1, sites.unsqueeze(1)).squeeze(1))

    def _terms(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """``float64 [rows]`` from ``logits [rows, vocabulary]`` at sites that hold ``tokens [rows]``."""
        if self.kind == "raw":
            return -logits.gather(1, tokens.unsqueeze(1)).squeeze(1).double()
        return token_nlls([logits], tokens.unsqueeze(1)).squeeze(1)

    def _passes(self, x: Tensor, todo: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows, sites and their terms, ``[rows of the pass]`` each."""
        rows, sites = todo.nonzero(as_tuple=True)
        if not len(rows):
            return
        lengths = self.model.space.lengths(x)
        if int(lengths.max()) > self.model.max_length:
            raise InvalidInput(
                f"a text has {int(lengths.max())} tokens, the model takes {self.model.max_length}; bound the length"
            )
        widths = lengths[rows] + len(self.model.space.prefix) + len(self.model.space.suffix)

        def run(part: Tensor) -> Tensor:
            return self._site_terms(x[rows[part]], sites[part])

        for part, terms in run_passes(widths, self.model.tokens_per_pass, run, scorer=self.model):
            yield rows[part], sites[part], terms


def _order(todo: Tensor, hint: SiteHint | None, drawn: Tensor | None) -> Tensor:
    """``[rows, width]``: what is scored first has the lowest number.

    By ``drawn float64 [rows, width]``, ``-log p`` of each token under another model, or else by the distance to the
    redrawn sites, or to the end.
    """
    if drawn is not None and drawn.shape == todo.shape:
        return -drawn.nan_to_num(nan=math.inf)
    redrawn = torch.zeros_like(todo) if hint is None else hint.redrawn(todo.shape[1])
    columns = torch.arange(todo.shape[1], device=todo.device)
    apart = (columns.unsqueeze(0) - columns.unsqueeze(1)).abs()
    distance = apart.masked_fill(~redrawn.unsqueeze(1), len(columns)).amin(dim=2)
    return distance.where(redrawn.any(dim=1, keepdim=True), len(columns) - columns)


def _waves(todo: Tensor, order: Tensor, count: int) -> Iterator[Tensor]:
    """``todo bool [rows, width]`` in ``count`` parts, by the ``order [rows, width]`` of its sites."""
    last = torch.finfo(torch.float64).max
    rank = order.double().masked_fill(~todo, last).argsort(dim=1, stable=True).argsort(dim=1)
    wave = rank * count // todo.sum(dim=1, keepdim=True).clamp(min=1)
    for number in range(count):
        yield todo & (wave == number)
