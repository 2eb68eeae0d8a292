"""``-log p(x)`` under a model that reads from left to right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.hints import TextHint
from lm_adapters.forward.kv_cache import Prefixes, batchable_rows
from lm_adapters.forward.log_probs import token_nlls
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from samplers import EnergyTerm, InvalidInput

__all__ = ["SequenceEnergy"]


class SequenceEnergy(EnergyTerm):
    """``-sum_j log p(x_j | x_<j) - log p(end | x)`` in nats, each over the model's whole vocabulary.

    ``model`` is ``CausalLM.condition_on(prompt)``, ``Seq2SeqLM.condition_on(source)`` or any other ``Autoregressive``.
    ``p(x)^beta`` with ``beta < 1`` need not have a finite sum over texts of every length: bound the length.

    Cost: one row of ``length + 1`` tokens for each text, the head at these only, in as few passes as
    ``tokens_per_pass`` allows; nothing where a proposal of the same model passes a ``TextHint``. Raises
    ``InvalidInput`` for a text longer than the model takes.
    """

    expensive = True
    lower_bound = 0.0

    def __init__(self, model: Autoregressive, name: str = "nll") -> None:
        self.model, self.name = model, name

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        if not (isinstance(hint, TextHint) and hint.model is self.model):
            return self.token_terms(x).sum(dim=1)
        total = hint.nlls.clone()
        rows = total.isnan().nonzero().squeeze(1)
        if len(rows):
            total[rows] = self.token_terms(x[rows]).sum(dim=1)
        return total

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width + 1]`` in nats: ``-log p`` of each token, then of the end; 0 after that."""
        lengths, tokens = self._checked_lengths(x), with_end_token(self.model, x)
        wanted = torch.arange(tokens.shape[1], device=x.device) <= lengths.unsqueeze(1)
        terms = torch.zeros(tokens.shape, dtype=torch.float64, device=x.device)

        def run(rows: Tensor) -> Tensor:
            marked = wanted[rows]
            return token_nlls(self.model.logits(x[rows], marked), tokens[rows][marked].unsqueeze(1))

        for rows, shares in run_passes(lengths + 1, self.model.tokens_per_pass, run, scorer=self.model.lm):
            terms[rows] = terms[rows].masked_scatter(wanted[rows], shares)
        return terms

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        """``float64 [chains, K]`` in nats, as ``EnergyTerm.candidate_values``; the text before a site is read once.

        Cost: for each chain a row of ``site`` tokens, for each candidate the tokens from the site on, in as few passes
        as ``tokens_per_pass`` allows; a separate pass for each different site where the model is not ``ragged``.
        """
        lengths = self._checked_lengths(x)
        if bool((values == self.model.space.pad_id).any()) or bool((site >= lengths).any()):
            return super().candidate_values(x, site, values)  # texts of different lengths share no positions
        energies = torch.empty(values.shape, dtype=torch.float64, device=x.device)
        for group in batchable_rows(site, self.model.ragged):

            def run(part: Tensor, group: Tensor = group) -> Tensor:
                rows = group[part]
                return self._of_candidates(x[rows], site[rows], values[rows])

            for part, nll in run_passes(site[group] + 1, self.model.tokens_per_pass, run, scorer=self.model.lm):
                energies[group[part]] = nll
        return energies

    def _of_candidates(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        """``candidate_values`` of chains whose texts before the site are read in one pass."""
        columns = torch.arange(x.shape[1] + 1, device=x.device)
        wanted = columns <= site.unsqueeze(1)
        logits, kept = self.model.read(x, wanted)
        rows, column = wanted.nonzero(as_tuple=True)
        here = (column == site[rows]).unsqueeze(1)
        nlls = token_nlls(logits, values[rows].where(here, with_end_token(self.model, x)[wanted].unsqueeze(1)))
        total = torch.zeros(values.shape, dtype=torch.float64, device=x.device).index_add_(0, rows, nlls)
        return total + self._after_site(x, site, values, kept)

    def _after_site(self, x: Tensor, site: Tensor, values: Tensor, kept: Prefixes) -> Tensor:
        """``float64 [chains, K]``: ``-log p`` of all that follows each candidate; ``kept`` holds what is before it."""
        total = torch.empty(values.numel(), dtype=torch.float64, device=x.device)
        chains = torch.arange(len(x), device=x.device).repeat_interleave(values.shape[1])
        widths = (self.model.space.lengths(x) - site)[chains]
        texts = pad(with_end_token(self.model, x), (0, x.shape[1]), value=self.model.space.pad_id)

        def run(rows: Tensor) -> Tensor:
            chain = chains[rows]
            offset = torch.arange(int(widths[rows].max()) + 1, device=x.device)
            tokens = texts[chain].gather(1, site[chain].unsqueeze(1) + offset)
            wanted = offset[:-1] < widths[rows].unsqueeze(1)
            read = torch.cat([values.flatten()[rows].unsqueeze(1), tokens[:, 1:-1]], dim=1)
            read = read.where(self.model.space.is_token(read), self.model.eos_id)
            logits, _ = self.model.extend(kept.take(chain, site[chain]), read, wanted)
            shares = token_nlls(logits, tokens[:, 1:][wanted].unsqueeze(1)).squeeze(1)
            return total.new_zeros(len(rows)).index_add_(0, wanted.nonzero(as_tuple=True)[0], shares)

        # A pass also holds the text before each candidate.
        tokens = max(1, self.model.tokens_per_pass // 2)
        for rows, shares in run_passes(widths, tokens, run, scorer=self.model.lm):
            total[rows] = shares
        return total.reshape(values.shape)

    def _checked_lengths(self, x: Tensor) -> Tensor:
        lengths = self.model.space.lengths(x)
        if int(lengths.max()) > self.model.max_length:
            raise InvalidInput(
                f"a text has {int(lengths.max())} tokens, the model takes {self.model.max_length}; bound the length"
            )
        return lengths
