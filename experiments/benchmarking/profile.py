"""Rows that a step needs read, as stages of bare passes: with masks, whole, or continuing after a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from experiments.benchmarking.reference_forwards import BareMasked, BareReader, Pass
from lm_adapters.forward import Layers, as_cache

__all__ = ["Kept", "MaskedRows", "TextRows", "WholeTexts"]


class MaskedRows:
    """Rows ``ids [rows, width]`` with masks, ``lengths [rows]`` tokens each, special ones included.

    The encoder runs at the true lengths of a pass, the head at the masks alone.
    """

    plans: tuple[str, ...] = ("whole",)

    def __init__(self, name: str, bare: BareMasked, ids: Tensor, lengths: Tensor) -> None:
        self.name, self.reader, self.ids, self.lengths = name, bare, ids, lengths

    def widths(self, plan: str) -> Tensor:
        return self.lengths

    def bare(self, plan: str, rows: Tensor) -> Pass:
        lengths = self.lengths[rows]
        ids = self.ids[rows, : int(lengths.max())]
        attention = None
        if bool((lengths < ids.shape[1]).any()):
            attention = (torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)).long()
        mask = self.reader.lm.space.mask_id
        assert mask is not None, "a masked language model has a mask token"
        head = _places(ids == mask)
        return Pass(ids, lambda: self.reader.read(ids, attention, head))

    def take(self, rows: Tensor) -> MaskedRows:
        return MaskedRows(self.name, self.reader, self.ids[rows], self.lengths[rows])


class WholeTexts:
    """Texts ``x [rows, width]`` read from their first token on, with the laws of each token and of the end, or with
    ``next_only`` of what follows them alone; ``drawn``: tokens are drawn from these.
    """

    plans: tuple[str, ...] = ("whole",)

    def __init__(
        self, name: str, reader: BareReader, x: Tensor, *, next_only: bool = False, drawn: bool = False
    ) -> None:
        self.name, self.reader, self.x, self.next_only, self.drawn = name, reader, x, next_only, drawn
        self.lengths = reader.space.lengths(x)

    def widths(self, plan: str) -> Tensor:
        return self.lengths + len(self.reader.context)

    def take(self, rows: Tensor) -> WholeTexts:
        return WholeTexts(self.name, self.reader, self.x[rows], next_only=self.next_only, drawn=self.drawn)

    def bare(self, plan: str, rows: Tensor) -> Pass:
        lengths = self.lengths[rows].unsqueeze(1)
        ids = _after_context(self.reader, self.x[rows, : int(lengths.max())])
        column = torch.arange(ids.shape[1], device=ids.device) - len(self.reader.context)
        wanted = column == lengths - 1 if self.next_only else (column >= -1) & (column < lengths)
        head = _places(wanted)
        return Pass(ids, lambda: _logits_or_tokens(self.reader.read(ids, head).logits.squeeze(0), self.drawn))


class Kept:
    """The keys and values of the texts ``x [chains, width]``, as a sampler has them once it has read ``x``."""

    def __init__(self, reader: BareReader, x: Tensor) -> None:
        self.reader, self.x = reader, x

    @cached_property
    def layers(self) -> Layers:
        ids = _after_context(self.reader, self.x[:, : int(self.reader.space.lengths(self.x).max())])
        nowhere = torch.zeros(1, dtype=torch.int64, device=ids.device)
        return self.reader.kept(self.reader.read(ids, (nowhere, nowhere), as_cache([])))

    def before(self, chains: Tensor, counts: Tensor) -> tuple[Layers, Tensor | None]:
        """The first ``counts [rows]`` tokens, the context's among them, of rows that are ``chains [rows]`` of ``x``.

        They stand at the right end, so that rows of unlike length go on in one column, and places there that hold
        nothing are False in the second value, ``bool [rows, longest]`` (``None`` where there are none). Distances
        between tokens stay what they are.
        """
        longest = int(counts.max())
        source = torch.arange(longest, device=chains.device) - (longest - counts).unsqueeze(1)
        real, place = source >= 0, source.clamp(min=0)[:, None, :, None]

        def shifted(states: Tensor) -> Tensor:
            rows = states[chains]
            return rows.gather(2, place.expand(-1, rows.shape[1], -1, rows.shape[3]))

        layers = [(shifted(keys), shifted(values)) for keys, values in self.layers]
        return layers, None if bool(real.all()) else real


class TextRows:
    """Texts ``x [rows, width]`` of which everything before column ``since [rows]`` is known.

    Each row is a text of ``kept.x``, number ``chains [rows]``, up to that column. Read are the tokens from ``since``
    on, and the head sees them alone: what follows them is scored, while the law of the token at ``since`` itself is
    known from the text before. Rows without such a token are left out. ``drawn``: tokens are drawn from what is scored.
    """

    def __init__(self, name: str, kept: Kept, x: Tensor, since: Tensor, chains: Tensor, *, drawn: bool = False) -> None:
        lengths = kept.reader.space.lengths(x)
        some = since < lengths
        self.name, self.kept, self.reader, self.drawn = name, kept, kept.reader, drawn
        self.x, self.since, self.chains, self.lengths = x[some], since[some], chains[some], lengths[some]

    @property
    def plans(self) -> Sequence[str]:
        return self.reader.plans

    def widths(self, plan: str) -> Tensor:
        return self.lengths - self.since if plan == "suffix" else self.lengths + len(self.reader.context)

    def take(self, rows: Tensor) -> TextRows:
        return TextRows(self.name, self.kept, self.x[rows], self.since[rows], self.chains[rows], drawn=self.drawn)

    def bare(self, plan: str, rows: Tensor) -> Pass:
        return self._suffix(rows) if plan == "suffix" else self._whole(rows)

    def _whole(self, rows: Tensor) -> Pass:
        lengths, since = self.lengths[rows].unsqueeze(1), self.since[rows].unsqueeze(1)
        ids = _after_context(self.reader, self.x[rows, : int(lengths.max())])
        column = torch.arange(ids.shape[1], device=ids.device) - len(self.reader.context)
        head = _places((column >= since) & (column < lengths))
        return Pass(ids, lambda: _logits_or_tokens(self.reader.read(ids, head).logits.squeeze(0), self.drawn))

    def _suffix(self, rows: Tensor) -> Pass:
        counts = self.widths("suffix")[rows]
        offset = torch.arange(int(counts.max()), device=rows.device)
        columns = self.since[rows].unsqueeze(1) + offset
        ids = _without_padding(self.reader, pad(self.x[rows], (0, len(offset)), value=self.reader.space.pad_id))
        ids = ids.gather(1, columns)
        head = _places(offset < counts.unsqueeze(1))
        places = columns + len(self.reader.context)
        layers, real = self.kept.before(self.chains[rows], places[:, 0])
        past = as_cache(layers)
        attention = None if real is None else pad(real, (0, len(offset)), value=True).long()

        def run() -> Tensor:
            return _logits_or_tokens(self.reader.read(ids, head, past, attention, places).logits.squeeze(0), self.drawn)

        return Pass(ids, run)


def _logits_or_tokens(logits: Tensor, drawn: bool) -> Tensor:
    """``logits [wanted, vocabulary]``, or a token drawn from each row."""
    if not drawn:
        return logits
    sums = logits.softmax(dim=1).cumsum(dim=1)
    return torch.searchsorted(sums, torch.rand_like(sums[:, :1]) * sums[:, -1:])


def _places(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns, each ``[places]``, at which ``wanted [rows, width]`` is true."""
    rows, columns = wanted.nonzero(as_tuple=True)
    return rows, columns


def _after_context(reader: BareReader, x: Tensor) -> Tensor:
    context = torch.tensor(reader.context, device=x.device).expand(len(x), -1)
    return torch.cat([context, _without_padding(reader, x)], dim=1)


def _without_padding(reader: BareReader, x: Tensor) -> Tensor:
    """End tokens for padding, which models without a padding token have no row for; nothing attends to them."""
    return x.where(reader.space.is_token(x), reader.eos_id)
