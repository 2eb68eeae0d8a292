"""``-log p(source | x)``: how well the source can be recovered from a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import token_nlls
from lm_adapters.forward.oom import run_passes
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_lm import Seq2SeqLM
    from lm_adapters.text import TextSpace

__all__ = ["Reconstruction"]


class Reconstruction(EnergyTerm):
    """``-log p(source | x)`` in nats: the encoder reads ``x``, the decoder scores ``source`` and its end.

    States are those of ``lm.source_space``; the model reads ``x`` after a task ``prefix``, with the tokenizer's special
    tokens. Add it to ``SequenceEnergy(lm.condition_on(source))`` to score both directions.

    Cost: each row is encoded and decoded once, the head at the tokens of the source only. Raises ``InvalidInput`` for a
    source that is empty, that the tokenizer cannot represent, or that is longer than the decoder takes, and for an
    ``x`` that is longer than the encoder takes.
    """

    expensive = True
    lower_bound = 0.0

    def __init__(self, lm: Seq2SeqLM, source: str, prefix: str = "") -> None:
        self.lm, self.name = lm, "reconstruction"
        target = lm.space.encode([source])[0].tolist()
        if len(target) > lm.max_length:
            raise InvalidInput(f"the source has {len(target)} tokens, the decoder takes {lm.max_length}; shorten it")
        self._prefix = lm.prefix_ids(prefix)
        self._decoder_input = torch.tensor([*lm.context, *target], device=lm.device)
        self._targets = torch.tensor([*target, lm.eos_id], device=lm.device)

    @property
    def space(self) -> TextSpace:
        """The space of the states that are scored."""
        return self.lm.source_space

    @property
    def max_length(self) -> int:
        """The most tokens of ``x`` that the encoder takes."""
        return self.lm.source_room(self._prefix)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.token_terms(x).sum(dim=1)

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, source + 1]`` in nats: ``-log p`` of each token of the source and of its end."""
        terms = torch.zeros(len(x), len(self._targets), dtype=torch.float64, device=x.device)
        special = len(self.space.prefix) + len(self._prefix) + len(self.space.suffix)
        widths = self.space.lengths(x) + special + len(self._decoder_input)

        def run(rows: Tensor) -> Tensor:
            return self._terms(x[rows])

        for rows, part in run_passes(widths, self.lm.tokens_per_pass, run, scorer=self.lm, together=self.lm.route.rows):
            terms[rows] = part
        return terms

    def _terms(self, x: Tensor) -> Tensor:
        logits = self.lm.target_logits(x, self._prefix, self._decoder_input, len(self._targets))
        return token_nlls(logits, self._targets.repeat(len(x)).unsqueeze(1)).view(len(x), -1)
