"""``-log p(x)`` of a model that reads from left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.autoregressive import Autoregressive, ended
from lm_adapters.memory import in_one, run_passes, split_on_oom
from lm_adapters.passes import passes
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from transformers import Cache

__all__ = ["SequenceEnergy", "nats"]


class SequenceEnergy(EnergyTerm):
    """``-sum_j log p(x_j | x_<j) - log p(end | x)`` in nats, over the model's whole vocabulary.

    A law proportional to ``p(x)^beta`` with ``beta < 1`` need not exist over texts of every length: bound the length.

    Cost: one row of ``length + 1`` tokens a text, the head at these alone, in as few passes as ``tokens_per_pass``
    allows. Raises ``InvalidInput`` for a text longer than the model takes.
    """

    def __init__(self, model: Autoregressive, name: str = "nll") -> None:
        self.model, self.name = model, name

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.token_terms(x).sum(dim=1)

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width + 1]``: the share of each token, then of the end; 0 beyond."""
        lengths, tokens = self._checked_lengths(x), ended(self.model, x)
        wanted = torch.arange(tokens.shape[1], device=x.device) <= lengths.unsqueeze(1)
        terms = torch.zeros(tokens.shape, dtype=torch.float64, device=x.device)

        def run(rows: Tensor) -> Tensor:
            asked = wanted[rows]
            return nats(self.model.logits(x[rows], asked), tokens[rows][asked].unsqueeze(1))

        for rows, shares in run_passes(lengths + 1, self.model.tokens_per_pass, run, scorer=self.model.lm):
            terms[rows] = terms[rows].masked_scatter(wanted[rows], shares)
        return terms

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        """``[chains, K]``, as ``EnergyTerm`` has it; what stands before a site is read once for all its candidates.

        Cost: two passes for each different site, of the chains that have it; more where ``tokens_per_pass`` bids so.
        """
        lengths = self._checked_lengths(x)
        if bool((values == self.model.space.pad_id).any()) or bool((site >= lengths).any()):
            return super().candidate_values(x, site, values)  # texts of other lengths share no positions
        energies = torch.empty(values.numel(), dtype=torch.float64, device=x.device)
        context = in_one(lambda: self.model.begin(x[:1, :0]), scorer=self.model.lm, tokens=1)
        tokens = torch.maximum(site, values.shape[1] * (lengths - site))  # of the larger of a chain's two rows
        candidates = torch.arange(values.numel(), device=x.device).reshape(values.shape)

        def run(block: Tensor) -> Tensor:
            rows = block[:, 0] // values.shape[1]
            return self._of_candidates(x[rows], int(site[rows[0]]), values.flatten()[block], *context)

        for place in site.unique().tolist():
            chains = (site == place).nonzero().squeeze(1)
            for part in passes(tokens[chains], self.model.tokens_per_pass):
                rows = candidates[chains[part]]
                for block, nll in split_on_oom(rows, run, scorer=self.model.lm, tokens=x.shape[1] + 1):
                    energies[block] = nll
        return energies.reshape(values.shape)

    def _of_candidates(self, x: Tensor, place: int, values: Tensor, first: Tensor, context: Cache) -> Tensor:
        """``candidate_values`` of chains with one site ``place``; ``first`` and ``context`` are of the empty text."""
        before, logits = torch.zeros(len(x), 1, dtype=torch.float64, device=x.device), first.expand(len(x), -1)
        cache = self.model.repeat(context, len(x))
        if place > 0:
            after, cache = self.model.extend(cache, x[:, :place])
            seen = torch.cat([logits.unsqueeze(1), after[:, :-1]], dim=1)
            before, logits = nats(seen, x[:, :place].unsqueeze(2)).sum(dim=1), after[:, -1]
        texts = x[:, : int(self.model.space.lengths(x).max())]
        # One chain may have more candidates than a pass holds.
        size = max(1, self.model.tokens_per_pass // (len(x) * (texts.shape[1] - place)))
        behind = [self._behind(texts, place, block, cache) for block in values.split(size, dim=1)]
        return before + nats(logits, values) + torch.cat(behind, dim=1)

    def _behind(self, x: Tensor, place: int, values: Tensor, cache: Cache) -> Tensor:
        """``float64 [chains, K]``: the nats of all that follows each candidate; the cache ends before ``place``."""
        count = values.shape[1]
        real = torch.arange(place + 1, x.shape[1] + 1, device=x.device) <= self.model.space.lengths(x).unsqueeze(1)
        tokens = ended(self.model, x)[:, place + 1 :].where(real, self.model.eos_id).repeat_interleave(count, dim=0)
        read = torch.cat([values.reshape(-1, 1), tokens[:, :-1]], dim=1)
        logits, _ = self.model.extend(self.model.repeat(cache, count), read)
        shares = nats(logits, tokens.unsqueeze(2)).squeeze(2)
        return (shares * real.repeat_interleave(count, dim=0)).sum(dim=1).reshape(-1, count)

    def _checked_lengths(self, x: Tensor) -> Tensor:
        lengths = self.model.space.lengths(x)
        if int(lengths.max()) > self.model.max_length:
            raise InvalidInput(
                f"a text has {int(lengths.max())} tokens, the model takes {self.model.max_length}; bound the length"
            )
        return lengths


def nats(logits: Tensor, tokens: Tensor) -> Tensor:
    """``float64 [..., K]``: ``-log p`` of ``tokens [..., K]`` under ``logits [..., vocabulary]``."""
    return logits.double().logsumexp(dim=-1, keepdim=True) - logits.gather(-1, tokens).double()
