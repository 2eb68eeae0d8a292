"""``p(text | source)`` token by token: the encoder's work is done once and kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm_adapters.memory import in_one

if TYPE_CHECKING:
    from transformers import Cache, DynamicCache
    from transformers.modeling_outputs import Seq2SeqLMOutput

    from lm_adapters.seq2seq_lm import Seq2SeqLM
    from lm_adapters.text import TextSpace

__all__ = ["GivenSource"]


class GivenSource:
    """The ``Autoregressive`` that ``Seq2SeqLM.given`` returns.

    Kept are the encoder's states and, of each decoder layer, the keys and values of the cross-attention and of the
    context but its last token. That token opens every pass, so position ``j`` of a pass tells of token ``j``. A pass
    of any number of rows sees one copy of all this. Prefixes of a batch have one length, as positions count from the
    start: relative ones (T5) from the length of the cache.
    """

    def __init__(self, lm: Seq2SeqLM, source: str, prefix: str = "") -> None:
        self.lm = lm
        x = lm.source_space.encode([source]).to(lm.device)
        ids, _ = lm.encoder_input(x, lm.prefix_ids(prefix))
        self.context = torch.tensor([lm.context], device=lm.device)
        read = partial(lm.model, input_ids=ids, decoder_input_ids=self.context, use_cache=True)
        output = in_one(read, scorer=lm, tokens=ids.shape[1])
        past = output.past_key_values
        self.states: Tensor = output.encoder_last_hidden_state
        self._own = [(keys[:, :, :-1], values[:, :, :-1]) for keys, values, _ in past.self_attention_cache]
        self._cross = [(keys, values) for keys, values, _ in past.cross_attention_cache]

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

    def logits(self, x: Tensor, wanted: Tensor) -> Tensor:
        """``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        rows, columns = wanted.nonzero(as_tuple=True)
        with self.lm.head.rows((rows, columns)):
            # What stands right of the last wanted position decides nothing.
            return self._decode(self._opened(x[:, : int(columns.max())]), self._start(len(x))).logits.squeeze(0)

    def begin(self, prefix: Tensor) -> tuple[Tensor, Cache]:
        """Logits ``[rows, vocabulary]`` of what follows ``prefix int64 [rows, n]``, and the cache."""
        rows = torch.arange(len(prefix), device=prefix.device)
        with self.lm.head.rows((rows, torch.full_like(rows, prefix.shape[1]))):
            output = self._decode(self._opened(prefix), self._start(len(prefix)))
        return output.logits.squeeze(0), output.past_key_values

    def extend(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """Logits ``[rows, m, vocabulary]`` of what follows each of ``tokens int64 [rows, m]``; uses ``cache`` up."""
        output = self._decode(tokens, cache)
        return output.logits, output.past_key_values

    def repeat(self, cache: Cache, times: int) -> Cache:
        """Every row ``times`` times. Only what the decoder has read of the text is copied."""
        from transformers import DynamicCache

        own = DynamicCache(
            [
                (keys.repeat_interleave(times, dim=0), values.repeat_interleave(times, dim=0))
                for keys, values, _ in cache.self_attention_cache
            ]
        )
        return self._beside_source(own, len(own.layers[0].keys))

    def _opened(self, x: Tensor) -> Tensor:
        return torch.cat([self.context[:, -1:].expand(len(x), 1), x], dim=1)

    def _start(self, rows: int) -> Cache:
        """What the decoder has read when ``rows`` texts begin."""
        from transformers import DynamicCache

        own = DynamicCache(
            [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in self._own]
        )
        return self._beside_source(own, rows)

    def _beside_source(self, own: DynamicCache, rows: int) -> Cache:
        """``own`` with the cross-attention's keys and values seen ``rows`` times, not copied."""
        from transformers import DynamicCache, EncoderDecoderCache

        cross = DynamicCache(self._cross)
        for layer in cross.layers:
            layer.keys, layer.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
        return EncoderDecoderCache(own, cross)

    def _decode(self, tokens: Tensor, past: Cache) -> Seq2SeqLMOutput:
        from transformers.modeling_outputs import BaseModelOutput

        # The states tell the decoder that there is a source; their keys and values it finds in ``past``.
        encoder = BaseModelOutput(last_hidden_state=self.states.expand(len(tokens), -1, -1))
        return self.lm.model(encoder_outputs=encoder, decoder_input_ids=tokens, past_key_values=past, use_cache=True)
