"""A decoder that writes one text a row, each given a source of its own; every distinct source is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Layers, as_cache, cache_layers
from lm_adapters.forward.route import by_length

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_parts import Seq2SeqParts

__all__ = ["Decoding"]


@dataclass(frozen=True)
class Decoding:
    """What rows have read so far: sources, and as many target tokens each, ``read int64 [rows, tokens]``.

    ``states [rows, source tokens, hidden]`` and ``mask`` (``int64 [rows, source tokens]``, ``None``: no padding) are of
    the encoder, ``own`` and ``cross`` the decoder's keys and values, empty where the model's route has no cache.
    ``kind`` is the class of the encoder's output.
    """

    lm: Seq2SeqParts
    kind: type[Any]
    states: Tensor
    mask: Tensor | None
    read: Tensor
    own: Layers
    cross: Layers

    @classmethod
    def begin(
        cls, lm: Seq2SeqParts, sources: Tensor, prefix: Sequence[int], context: Sequence[int]
    ) -> tuple[Tensor, Decoding]:
        """Encode ``sources int64 [rows, width]``, padded, after ``prefix``, and read ``context``.

        Returns logits ``[rows, vocabulary]`` of the first token. Raises ``InvalidInput`` for a source that is longer
        than the encoder takes.
        """
        if not sources.shape[1]:  # no word is kept of any text
            sources = sources.new_full((len(sources), 1), lm.source_space.pad_id)
        distinct, of_row = sources.unique(dim=0, return_inverse=True)
        ids, mask = lm.encoder_input(distinct, prefix)
        encoded = lm.model.get_encoder()(input_ids=ids, attention_mask=mask)
        nothing = distinct.new_zeros(len(distinct), 0)
        start = cls(lm, type(encoded), encoded.last_hidden_state, mask, nothing, [], [])
        tokens = torch.tensor([context], device=sources.device).expand(len(distinct), -1)
        wanted = torch.zeros(tokens.shape, dtype=torch.bool, device=sources.device)
        wanted[:, -1] = True
        logits, after = start.extend(tokens, wanted)
        return torch.cat(list(logits))[of_row], after.take(of_row)

    def take(self, rows: Tensor) -> Decoding:
        """``rows int64 [n]``, in any order and with repeats; many of a single row are not copied."""

        def of(tensor: Tensor) -> Tensor:
            if len(tensor) == 1:
                return tensor.expand(len(rows), *tensor.shape[1:])
            return tensor.index_select(0, rows)

        return replace(
            self,
            states=of(self.states),
            mask=None if self.mask is None else of(self.mask),
            read=of(self.read),
            own=[(of(keys), of(values)) for keys, values in self.own],
            cross=[(of(keys), of(values)) for keys, values in self.cross],
        )

    def extend(self, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Decoding]:
        """Read ``tokens int64 [rows, m]``: logits ``[wanted, vocabulary]`` of what follows each that is ``wanted``.

        ``wanted bool [rows, m]``; logits come row-major, in parts. Tokens right of what is wanted may be anything.
        """
        read = torch.cat([self.read, tokens], dim=1)
        if self.lm.route.cache == "none":
            marked = torch.nn.functional.pad(wanted, (self.read.shape[1], 0))
            logits = by_length(self.lm.route, marked, lambda rows: self._read_anew(rows, read[rows], marked[rows]))
            return logits, replace(self, read=read)
        from transformers import EncoderDecoderCache

        own, cross = as_cache(self.own), as_cache(self.cross)
        rows, columns = wanted.nonzero(as_tuple=True)
        logits = self.lm.head.read(
            (rows, columns),
            encoder_outputs=self.kind(last_hidden_state=self.states),
            attention_mask=self.mask,
            decoder_input_ids=tokens,
            past_key_values=EncoderDecoderCache(own, cross),
            use_cache=True,
        )
        return logits, replace(self, read=read, own=cache_layers(own), cross=cache_layers(cross))

    def _read_anew(self, rows: Tensor, read: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        at, columns = wanted.nonzero(as_tuple=True)
        return self.lm.head.read(
            (at, columns),
            encoder_outputs=self.kind(last_hidden_state=self.states[rows]),
            attention_mask=None if self.mask is None else self.mask[rows],
            decoder_input_ids=read[:, : int(columns.max()) + 1],
            use_cache=False,
        )
