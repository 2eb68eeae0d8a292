"""Bare calls of the models: nothing around ``model(...)`` but a head that sees only the rows that are asked for.

Everything that such a call reads is made before it, so that what is timed is the model and nothing else.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM
from lm_adapters.forward import HeadOnRows, Layers, as_cache, cache_layers, expand_layers, max_positions

if TYPE_CHECKING:
    from transformers import Cache

__all__ = ["BareCausal", "BareMasked", "BareReader", "BareSeq2Seq", "Pass"]

Head = tuple[Tensor, Tensor]  # rows and columns of the input whose outputs the vocabulary head sees


@dataclass(frozen=True)
class Pass:
    """One forward pass, ready to run once; ``run`` gives the logits ``[wanted, vocabulary]``, row-major, or tokens."""

    ids: Tensor
    run: Callable[[], Tensor]


class BareMasked:
    """A masked language model and its mask."""

    def __init__(self, lm: MaskedLM) -> None:
        self.lm, self.model = lm, lm.model
        self._head = HeadOnRows(lm.model)

    def read(self, ids: Tensor, attention: Tensor | None, head: Head) -> Tensor:
        with self._head.rows(head):
            return self.model(input_ids=ids, attention_mask=attention).logits.squeeze(0)


class BareReader(ABC):
    """A model that reads from left to right, with the tokens ``context`` before a text and ``eos_id`` behind it.

    ``plans``: ``whole`` reads a text from its first token on, ``suffix`` only what stands behind a prefix whose keys
    and values are kept.
    """

    context: list[int]
    plans: tuple[str, ...] = ("whole", "suffix")

    def __init__(self, lm: CausalLM | Seq2SeqLM, body: torch.nn.Module | None = None) -> None:
        self.lm, self.model, self.eos_id, self.space = lm, lm.model, lm.eos_id, lm.space
        self._head = HeadOnRows(lm.model, body)

    def read(
        self,
        ids: Tensor,
        head: Head,
        past: Cache | None = None,
        attention: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Any:
        """The model's output for ``ids``: the context and a text, or what stands behind ``past``, which is used up.

        ``attention [rows, past + ids]`` is 0 where ``past`` holds nothing; ``places`` are the positions of ``ids``.
        """
        with self._head.rows(head):
            return self._output(ids, past, attention, places)

    @abstractmethod
    def _output(self, ids: Tensor, past: Cache | None, attention: Tensor | None, places: Tensor | None) -> Any: ...

    @abstractmethod
    def kept(self, output: Any) -> Layers:
        """The keys and values of all that a pass with a cache has read."""


class BareCausal(BareReader):
    """A causal language model without a prompt."""

    def __init__(self, lm: CausalLM) -> None:
        super().__init__(lm)
        self.context = [lm.start_id]

    def _output(self, ids: Tensor, past: Cache | None, attention: Tensor | None, places: Tensor | None) -> Any:
        return self.model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=places,
            past_key_values=past,
            use_cache=past is not None,
        )

    def kept(self, output: Any) -> Layers:
        return cache_layers(output.past_key_values)


class BareSeq2Seq(BareReader):
    """The decoder of an encoder-decoder model: the source is encoded here, once, and its keys and values are kept.

    Where positions are absolute (Marian, BART) the model counts them from the length of its cache, so rows whose
    prefixes differ in length cannot share a pass, and ``suffix`` is no plan.
    """

    def __init__(self, lm: Seq2SeqLM, source: str, prefix: str = "") -> None:
        decoder = lm.model.get_decoder().base_model
        super().__init__(lm, decoder)
        self.context = lm.context
        if max_positions(decoder) < sys.maxsize:
            self.plans = ("whole",)
        ids, _ = lm.encoder_input(lm.source_space.encode([source]).to(lm.device), lm.prefix_ids(prefix))
        self.source: list[int] = ids[0].tolist()  # as the encoder reads it
        start = torch.tensor([self.context], device=lm.device)
        with torch.inference_mode():
            output = self.model(input_ids=ids, decoder_input_ids=start, use_cache=True)
        self._states = output.encoder_last_hidden_state
        self._cross = cache_layers(output.past_key_values.cross_attention_cache)

    def _output(self, ids: Tensor, past: Cache | None, attention: Tensor | None, places: Tensor | None) -> Any:
        from transformers import EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        cross = as_cache(expand_layers(self._cross, len(ids)))
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._states.expand(len(ids), -1, -1)),
            decoder_input_ids=ids,
            decoder_attention_mask=attention,
            past_key_values=EncoderDecoderCache(past or as_cache([]), cross),
            use_cache=True,
        )

    def kept(self, output: Any) -> Layers:
        return cache_layers(output.past_key_values.self_attention_cache)
