"""``p(text | source)`` token by token; the source is encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, cache_layers, expand_layers
from lm_adapters.forward.oom import run_one_row
from lm_adapters.forward.route import by_length, read_tokens, with_read_tokens

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

    def __init__(self, lm: Seq2SeqParts, source: str, prefix: str = "", *, x: Tensor | None = None) -> None:
        self.lm, self.source, self.prefix = lm, source, prefix
        if x is None:
            x = lm.source_space.encode([source.strip()]).to(lm.device)
        self.source_ids, _ = lm.encoder_input(x, lm.prefix_ids(prefix))
        self.context = torch.tensor([lm.context], device=lm.device)
        self._context_layers: Layers = []
        self._cross_layers: Layers = []
        cached = lm.route.cache != "none"
        tokens = self.source_ids.shape[1]
        self._encoded = run_one_row(
            partial(lm.model.get_encoder(), input_ids=self.source_ids), scorer=lm, tokens=tokens
        )
        self.states: Tensor = self._encoded.last_hidden_state
        if cached:
            read = partial(lm.model, decoder_input_ids=self.context, use_cache=True)
            output = run_one_row(partial(read, encoder_outputs=self.encoder_output(1)), scorer=lm, tokens=tokens)
            own, cross = output.past_key_values.self_attention_cache, output.past_key_values.cross_attention_cache
            self._context_layers = [(keys[:, :, :-1], values[:, :, :-1]) for keys, values, _ in own]
            self._cross_layers = [(keys, values) for keys, values, _ in cross]

    def encoder_output(self, rows: int) -> Any:
        """The encoder's output for the source, for so many rows, not copied; of the class that the model expects."""
        return type(self._encoded)(last_hidden_state=self.states.expand(rows, -1, -1))

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

    @property
    def ragged(self) -> bool:
        """Whether ``extend`` takes prefixes of different lengths in one pass."""
        return self.lm.route.cache != "equal"

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        route = self.lm.route
        if route.cache == "none":
            return by_length(route, wanted, lambda rows: self._read_anew(x[rows], wanted[rows]))
        return self._read(x, wanted)[0]

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and keys and values of what the decoder has read; see ``Autoregressive``."""
        if self.lm.route.cache == "none":
            return self.logits(x, wanted), read_tokens(x, int(wanted.nonzero()[:, 1].max()))
        logits, layers = self._read(x, wanted)
        context = self.context.shape[1]
        return logits, Prefixes(layers, torch.full_like(x[:, 0], layers[0][0].shape[2] - context), context)

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Logits ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        if self.lm.route.cache == "none":
            x, marked, after = with_read_tokens(before, tokens, wanted)
            return self.logits(x, marked), after
        count = tokens.shape[1]
        rows, columns = wanted.nonzero(as_tuple=True)
        logits, layers = self._decode(tokens, before.layers, (rows, columns), before.attention(count))
        return logits, before.extended(layers, count)

    def _read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Layers]:
        rows, columns = wanted.nonzero(as_tuple=True)
        # Tokens right of the last wanted position have no influence.
        ids = torch.cat([self.context[:, -1:].expand(len(x), 1), x[:, : int(columns.max())]], dim=1)
        return self._decode(ids, expand_layers(self._context_layers, len(x)), (rows, columns))

    def _read_anew(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """``logits`` by a pass without any cache."""
        rows, columns = wanted.nonzero(as_tuple=True)
        return self.lm.head.read(
            (rows, columns + self.context.shape[1] - 1),
            encoder_outputs=self.encoder_output(len(x)),
            decoder_input_ids=torch.cat([self.context.expand(len(x), -1), x[:, : int(columns.max())]], dim=1),
            use_cache=False,
        )

    def _decode(
        self, tokens: Tensor, before: Layers, wanted: tuple[Tensor, Tensor], attention: Tensor | None = None
    ) -> tuple[Iterator[Tensor], Layers]:
        """Logits ``[wanted, vocabulary]``, and the decoder's own keys and values with those of ``tokens``."""
        from transformers import EncoderDecoderCache

        own, cross = as_cache(before), as_cache(expand_layers(self._cross_layers, len(tokens)))
        # The encoder's output only shows the decoder that there is a source; its keys and values are in ``cross``.
        logits = self.lm.head.read(
            wanted,
            encoder_outputs=self.encoder_output(len(tokens)),
            decoder_input_ids=tokens,
            decoder_attention_mask=attention,
            past_key_values=EncoderDecoderCache(own, cross),
            use_cache=True,
        )
        return logits, cache_layers(own)
