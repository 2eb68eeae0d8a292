"""``-log p(x)`` under a model that reads from left to right, truncated to its nucleus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.proposals.truncation import Truncation
from samplers import EnergyTerm, InvalidInput

__all__ = ["NucleusEnergy"]


class NucleusEnergy(SequenceEnergy):
    """Minus the log-probability of ``x`` in nats under ancestral sampling with top-p truncation, ``+inf`` outside.

    A token, and the end, has ``-log p(x_j | x_<j) + log m_j``, where ``m_j >= top_p`` is the mass of the nucleus: the
    fewest likeliest of the tokens that are text by themselves, and the end, with a share of ``top_p`` of all these
    (Holtzman et al. 2020, arXiv:1904.09751). A token that is never proposed (``TextSpace.fixed``), or that
    ``exempt(x) -> bool [rows, width + 1]`` marks, is not drawn but given: it has ``-log p``, inside the nucleus or not.
    The end of a text of ``l`` tokens is in column ``l``.

    Without exempt tokens it is the law of ``SequenceDistribution`` with this truncation, but for bounds on the length.
    Cost: as ``SequenceEnergy``, and a sort of the vocabulary for each token; hints of proposals do not apply, and
    candidates of one site share no prefix. Raises ``InvalidInput`` for ``top_p`` not above 0 and below 1.
    """

    candidate_values = EnergyTerm.candidate_values

    def __init__(
        self,
        model: Autoregressive,
        top_p: float,
        name: str = "nll",
        *,
        exempt: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(model, name)
        self.truncation, self.exempt = Truncation(top_p=top_p), exempt
        if not self.truncation.cuts:
            raise InvalidInput(f"top_p is {top_p}; give a number above 0 and below 1, or use SequenceEnergy")
        self._possible = model.allowed.clone()
        self._possible[model.eos_id] = True

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.token_terms(x).sum(dim=1)

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width + 1]`` in nats, of each token, then of the end; 0 after that."""
        lengths, tokens = self._checked_lengths(x), with_end_token(self.model, x)
        wanted = torch.arange(tokens.shape[1], device=x.device) <= lengths.unsqueeze(1)
        given = pad(self.model.space.fixed(x), (0, 1), value=False)
        if self.exempt is not None:
            given = given | self.exempt(x)
        terms = torch.zeros(tokens.shape, dtype=torch.float64, device=x.device)

        def run(rows: Tensor) -> Tensor:
            marked = wanted[rows]
            logits = self.model.logits(x[rows], marked)
            parts = aligned_parts(logits, tokens[rows][marked], given[rows][marked])
            return torch.cat([self._nlls(*part) for part in parts])

        for rows, shares in run_passes(lengths + 1, self.model.tokens_per_pass, run, scorer=self.model.lm):
            terms[rows] = terms[rows].masked_scatter(wanted[rows], shares)
        return terms

    def _nlls(self, logits: Tensor, tokens: Tensor, given: Tensor) -> Tensor:
        """``float64 [part]`` from ``logits [part, vocabulary]``, at ``tokens int64 [part]``."""
        kept = self.truncation.scores(logits, self._possible).double().log_softmax(dim=1)
        plain = logits.log_softmax(dim=1).double()
        column = tokens.unsqueeze(1)
        return -plain.gather(1, column).where(given.unsqueeze(1), kept.gather(1, column)).squeeze(1)
