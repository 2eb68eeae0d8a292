"""``p(text | source)`` token by token: the encoder's work is done once and kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, expanded, kept_layers
from lm_adapters.forward.model_inputs import positions
from lm_adapters.forward.oom import in_one

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_lm import Seq2SeqLM
    from lm_adapters.text import TextSpace

__all__ = ["GivenSource"]


class GivenSource:
    """The ``Autoregressive`` that ``Seq2SeqLM.given`` returns.

    Kept are the encoder's states and, of each decoder layer, the keys and values of the cross-attention and of the
    context but its last token. That token opens every pass, so position ``j`` of a pass tells of token ``j``. A pass
    of any number of rows sees one copy of all this.
    """

    def __init__(self, lm: Seq2SeqLM, source: str, prefix: str = "") -> None:
        self.lm, self.source, self.prefix = lm, source, prefix
        x = lm.source_space.encode([source]).to(lm.device)
        ids, _ = lm.encoder_input(x, lm.prefix_ids(prefix))
        self.context = torch.tensor([lm.context], device=lm.device)
        read = partial(lm.model, input_ids=ids, decoder_input_ids=self.context, use_cache=True)
        output = in_one(read, scorer=lm, tokens=ids.shape[1])
        past = output.past_key_values
        self.states: Tensor = output.encoder_last_hidden_state
        self._own = [(keys[:, :, :-1], values[:, :, :-1]) for keys, values, _ in past.self_attention_cache]
        self._cross = [(keys, values) for keys, values, _ in past.cross_attention_cache]

    def config(self) -> dict[str, Any]:
        """What the draws depend on: the model, the source, and what stands before source and text."""
        return {"lm": self.lm, "source": self.source, "prefix": self.prefix, "context": self.lm.context}

    @property
    def space(self) -> TextSpace:
        return self.lm.space

    @property
    def eos_id(self) -> int:
        return self.lm.eos_id

    @property
    def allowed(self) -> Tensor:
        return self.lm.allowed

    @property
    def max_length(self) -> int:
        return self.lm.max_length

    @property
    def tokens_per_pass(self) -> int:
        return self.lm.tokens_per_pass

    @cached_property
    def ragged(self) -> bool:
        """Where positions are relative; absolute ones (Marian, BART) are counted from the cache."""
        return positions(self.lm.model.get_decoder().base_model) == sys.maxsize

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        return self._read(x, wanted)[0]

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and what the decoder has read."""
        logits, layers = self._read(x, wanted)
        context = self.context.shape[1]
        return logits, Prefixes(layers, torch.full_like(x[:, 0], layers[0][0].shape[2] - context), context)

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        count = tokens.shape[1]
        index = wanted.nonzero(as_tuple=True)
        logits, layers = self._decode(tokens, before.layers, index, before.attention(count))
        return logits, before.grown(layers, count)

    def _read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Layers]:
        rows, columns = wanted.nonzero(as_tuple=True)
        # What stands right of the last wanted position decides nothing.
        ids = torch.cat([self.context[:, -1:].expand(len(x), 1), x[:, : int(columns.max())]], dim=1)
        return self._decode(ids, expanded(self._own, len(x)), (rows, columns))

    def _decode(
        self, tokens: Tensor, before: Layers, wanted: tuple[Tensor, Tensor], attention: Tensor | None = None
    ) -> tuple[Iterator[Tensor], Layers]:
        """Logits ``[wanted, vocabulary]``, and the decoder's own keys and values with those of ``tokens``."""
        from transformers import EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        own, cross = as_cache(before), as_cache(expanded(self._cross, len(tokens)))
        # The states tell the decoder that there is a source; their keys and values it finds in ``cross``.
        encoder = BaseModelOutput(last_hidden_state=self.states.expand(len(tokens), -1, -1))
        logits = self.lm.head.read(
            wanted,
            encoder_outputs=encoder,
            decoder_input_ids=tokens,
            decoder_attention_mask=attention,
            past_key_values=EncoderDecoderCache(own, cross),
            use_cache=True,
        )
        return logits, kept_layers(own)
