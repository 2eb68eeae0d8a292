"""``p(text | source)`` token by token; the source is encoded once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, cache_layers, expand_layers
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.oom import run_one_row

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_parts import Seq2SeqParts
    from lm_adapters.text import TextSpace

__all__ = ["ConditionedDecoder"]


class ConditionedDecoder:
    """``p(text | source)`` as an ``Autoregressive``, made by ``Seq2SeqLM.condition_on``.

    Keeps the encoder's states and, for each decoder layer, the keys and values of the cross-attention and of the
    context without its last token. That token opens every pass, so the output at position ``j`` of a pass predicts
    token ``j``. All rows of a pass share one copy of what is kept.

    Raises ``InvalidInput`` for a source that is empty, that the tokenizer cannot represent, or that is longer than the
    encoder takes.
    """

    def __init__(self, lm: Seq2SeqParts, source: str, prefix: str = "") -> None:
        self.lm, self.source, self.prefix = lm, source, prefix
        x = lm.source_space.encode([source]).to(lm.device)
        ids, _ = lm.encoder_input(x, lm.prefix_ids(prefix))
        self.context = torch.tensor([lm.context], device=lm.device)
        read = partial(lm.model, input_ids=ids, decoder_input_ids=self.context, use_cache=True)
        output = run_one_row(read, scorer=lm, tokens=ids.shape[1])
        past = output.past_key_values
        self.states: Tensor = output.encoder_last_hidden_state
        self._context_layers = [(keys[:, :, :-1], values[:, :, :-1]) for keys, values, _ in past.self_attention_cache]
        self._cross_layers = [(keys, values) for keys, values, _ in past.cross_attention_cache]

    def config(self) -> dict[str, Any]:
        """What draws depend on: the model, the source, and what is before source and text."""
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
        """Where positions are relative; absolute ones (Marian, BART) are counted from the length of the cache."""
        return max_positions(self.lm.body) == sys.maxsize

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        return self._read(x, wanted)[0]

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and keys and values of what the decoder has read; see ``Autoregressive``."""
        logits, layers = self._read(x, wanted)
        context = self.context.shape[1]
        return logits, Prefixes(layers, torch.full_like(x[:, 0], layers[0][0].shape[2] - context), context)

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Logits ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        count = tokens.shape[1]
        rows, columns = wanted.nonzero(as_tuple=True)
        logits, layers = self._decode(tokens, before.layers, (rows, columns), before.attention(count))
        return logits, before.extended(layers, count)

    def _read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Layers]:
        rows, columns = wanted.nonzero(as_tuple=True)
        # Tokens right of the last wanted position have no influence.
        ids = torch.cat([self.context[:, -1:].expand(len(x), 1), x[:, : int(columns.max())]], dim=1)
        return self._decode(ids, expand_layers(self._context_layers, len(x)), (rows, columns))

    def _decode(
        self, tokens: Tensor, before: Layers, wanted: tuple[Tensor, Tensor], attention: Tensor | None = None
    ) -> tuple[Iterator[Tensor], Layers]:
        """Logits ``[wanted, vocabulary]``, and the decoder's own keys and values with those of ``tokens``."""
        from transformers import EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        own, cross = as_cache(before), as_cache(expand_layers(self._cross_layers, len(tokens)))
        # The states only show the decoder that there is a source; its keys and values are in ``cross``.
        encoder = BaseModelOutput(last_hidden_state=self.states.expand(len(tokens), -1, -1))
        logits = self.lm.head.read(
            wanted,
            encoder_outputs=encoder,
            decoder_input_ids=tokens,
            decoder_attention_mask=attention,
            past_key_values=EncoderDecoderCache(own, cross),
            use_cache=True,
        )
        return logits, cache_layers(own)
