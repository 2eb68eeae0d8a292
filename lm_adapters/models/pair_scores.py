"""``log p(target | source)`` of many pairs: sources of their own in one pass, pairs of similar length together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.forward.log_probs import token_nlls
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.conditioned_decoder import ConditionedDecoder

if TYPE_CHECKING:
    from lm_adapters.models.seq2seq_parts import Seq2SeqParts

__all__ = ["pair_log_probs"]

SHARED = 8  # targets of one source from which on it is encoded once, with the keys and values of its cross-attention


def pair_log_probs(lm: Seq2SeqParts, sources: Tensor, x: Tensor, prefix: str = "") -> Tensor:
    """``float64 [rows]`` in nats: of the texts ``x int64 [rows, any width]`` and their ends, each given its source.

    ``sources int64 [rows, any width]`` are states of ``lm.source_space``, read after ``prefix``.

    Cost: a pass of encoder and decoder over as many pairs as ``tokens_per_pass`` allows, source and target counted, the
    vocabulary head at the target's tokens alone. A source of ``SHARED`` targets or more is encoded once, and each of
    these is a row of the decoder. Raises ``InvalidInput`` for a source that is longer than the encoder takes.
    """
    total = torch.empty(len(x), dtype=torch.float64, device=x.device)
    texts = _Texts(lm, x)
    distinct, of_row, counts = sources.unique(dim=0, return_inverse=True, return_counts=True)
    for source in (counts >= SHARED).nonzero().squeeze(1):
        rows = (of_row == source).nonzero().squeeze(1)
        decoder = ConditionedDecoder(lm, "", prefix, x=distinct[source].unsqueeze(0))
        for part, found in texts.of_one(decoder, rows):
            total[part] = found
    rows = (counts[of_row] < SHARED).nonzero().squeeze(1)
    for part, found in texts.of_each(sources, prefix, rows):
        total[part] = found
    return total


class _Texts:
    """Targets ``x``, with their ends; the laws of tokens that are wanted, ``bool [rows, width + 1]``."""

    def __init__(self, lm: Seq2SeqParts, x: Tensor) -> None:
        self.lm, self.x, self.lengths = lm, x, lm.space.lengths(x)
        end = self.lengths.unsqueeze(1)
        self.tokens = pad(x, (0, 1), value=lm.space.pad_id).scatter_(1, end, lm.eos_id)
        self.wanted = torch.arange(x.shape[1] + 1, device=x.device) <= end

    def of_one(self, decoder: ConditionedDecoder, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Row numbers and ``float64`` log-probabilities, of ``rows`` that have the decoder's source."""

        def run(part: Tensor) -> Tensor:
            at = rows[part]
            return self._log_probs(at, decoder.logits(self.x[at], self.wanted[at]))

        widths = self.lengths[rows] + 1
        for part, found in run_passes(widths, self.lm.tokens_per_pass, run, scorer=self.lm):
            yield rows[part], found

    def of_each(self, sources: Tensor, prefix: str, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """As ``of_one``, of rows with sources of their own."""
        ids, lengths = self.lm.prefix_ids(prefix), self.lm.source_space.lengths(sources)
        extra = len(self.lm.source_space.prefix) + len(ids) + len(self.lm.source_space.suffix) + len(self.lm.context)

        def run(block: Tensor, part: Tensor) -> Tensor:
            at = block[part]
            return self._log_probs(at, self._logits(sources[at], ids, at))

        for block in self._blocks(rows, lengths, extra):
            widths = self.lengths[block] + (int(lengths[block].max()) + extra)
            found = run_passes(
                widths, self.lm.tokens_per_pass, partial(run, block), scorer=self.lm, together=self.lm.route.rows
            )
            for part, log_probs in found:
                yield block[part], log_probs

    def _blocks(self, rows: Tensor, sources: Tensor, extra: int) -> Iterable[Tensor]:
        """``rows`` sorted by the lengths of their sources, in as many parts as each part then takes passes.

        So a pass, whose rows are of one block and sorted by their targets, holds few different lengths of either side.
        Of one length each where the model does not take padding.
        """
        if self.lm.route.rows != "any":
            return [rows[sources[rows] == length] for length in sources[rows].unique()]
        if not len(rows):
            return []
        count = int((sources[rows] + self.lengths[rows] + extra).sum()) / self.lm.tokens_per_pass
        return rows[sources[rows].argsort(stable=True)].chunk(max(1, math.isqrt(math.ceil(count))))

    def _logits(self, sources: Tensor, prefix: list[int], rows: Tensor) -> Iterator[Tensor]:
        """Logits at what is wanted of ``rows``, by one pass of the encoder and one of the decoder."""
        ids, attention = self.lm.encoder_input(sources, prefix)
        encoded = self.lm.model.get_encoder()(input_ids=ids, attention_mask=attention)
        context = torch.tensor(self.lm.context, device=rows.device).expand(len(rows), -1)
        at, columns = self.wanted[rows].nonzero(as_tuple=True)
        return self.lm.head.read(
            (at, columns + context.shape[1] - 1),
            encoder_outputs=encoded,
            attention_mask=attention,
            decoder_input_ids=torch.cat([context, self.x[rows, : int(columns.max())]], dim=1),
            use_cache=False,
        )

    def _log_probs(self, rows: Tensor, logits: Iterable[Tensor]) -> Tensor:
        """``float64 [rows]`` from the logits at what is wanted of them."""
        wanted = self.wanted[rows]
        nlls = token_nlls(logits, self.tokens[rows][wanted].unsqueeze(1)).squeeze(1)
        return nlls.new_zeros(len(rows)).index_add_(0, wanted.nonzero(as_tuple=True)[0], -nlls)
