"""``-log p(source | x)``: how well a text tells what it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import nats
from lm_adapters.forward.oom import run_passes
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_lm import Seq2SeqLM
    from lm_adapters.text import TextSpace

__all__ = ["Reconstruction"]


class Reconstruction(EnergyTerm):
    """``-log p(source | x)`` in nats: the encoder reads ``x``, the decoder is asked for ``source`` and its end.

    ``x`` is framed as the tokenizer frames a text, behind a task prefix; its space is ``lm.source_space``. Cost: each
    row is encoded and decoded once, the head at the tokens of the source only. Raises ``InvalidInput`` for a source
    that is empty, cannot be spelled as a target, or is longer than the decoder takes, and for an ``x`` longer than the
    encoder takes.
    """

    expensive = True
    lower_bound = 0.0

    def __init__(self, lm: Seq2SeqLM, source: str, prefix: str = "") -> None:
        self.lm, self.name = lm, "reconstruction"
        target = lm.space.encode([source])[0].tolist()
        if len(target) > lm.max_length:
            raise InvalidInput(f"the source has {len(target)} tokens, the decoder takes {lm.max_length}; shorten it")
        self._prefix = lm.prefix_ids(prefix)
        self._read = torch.tensor([*lm.context, *target], device=lm.device)
        self._asked = torch.tensor([*target, lm.eos_id], device=lm.device)

    @property
    def space(self) -> TextSpace:
        """Of the states that are scored."""
        return self.lm.source_space

    @property
    def max_length(self) -> int:
        """Tokens of ``x`` that the encoder takes."""
        return self.lm.source_room(self._prefix)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return self.token_terms(x).sum(dim=1)

    def token_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, source + 1]``: the share of each token of the source and of its end, in nats."""
        terms = torch.zeros(len(x), len(self._asked), dtype=torch.float64, device=x.device)
        framing = len(self.space.prefix) + len(self._prefix) + len(self.space.suffix)
        widths = self.space.lengths(x) + framing + len(self._read)

        def run(rows: Tensor) -> Tensor:
            return self._terms(x[rows])

        for rows, shares in run_passes(widths, self.lm.tokens_per_pass, run, scorer=self.lm):
            terms[rows] = shares
        return terms

    def _terms(self, x: Tensor) -> Tensor:
        ids, attention = self.lm.encoder_input(x, self._prefix)
        encoded = self.lm.model.get_encoder()(input_ids=ids, attention_mask=attention)
        asked = torch.zeros(len(x), len(self._read), dtype=torch.bool, device=x.device)
        asked[:, -len(self._asked) :] = True
        rows, columns = asked.nonzero(as_tuple=True)
        logits = self.lm.head.read(
            (rows, columns),
            encoder_outputs=encoded,
            attention_mask=attention,
            decoder_input_ids=self._read.expand(len(x), -1),
            use_cache=False,
        )
        return nats(logits, self._asked.repeat(len(x)).unsqueeze(1)).view(len(x), -1)
