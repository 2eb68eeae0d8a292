"""How a model is run so that the energy of a text is a number of that text, whatever else is in the pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lm_adapters.forward.batching import Together
from lm_adapters.forward.kv_cache import Prefixes

__all__ = ["Cache", "Route", "by_length", "read_tokens", "with_read_tokens"]

Cache = Literal["any", "equal", "none"]


@dataclass(frozen=True)
class Route:
    """What a probe has found that a model supports; each field is at its fastest by default.

    rows
        Which rows share a pass: ``any``, shorter ones padded; those of ``equal`` length; only ``one``.
    cache
        Which prefixes share a pass that continues them from their keys and values: ``any``; those of ``equal`` length;
        ``none``, where prefixes are read anew.
    full_head
        Whether the vocabulary head runs at every position of a pass, not only where it is needed.
    """

    rows: Together = "any"
    cache: Cache = "any"
    full_head: bool = False

    def __str__(self) -> str:
        rows = {"any": [], "equal": ["rows of one length"], "one": ["one row a pass"]}[self.rows]
        cache = {"any": [], "equal": ["prefixes of one length"], "none": ["prefixes read anew"]}[self.cache]
        return ", ".join([*rows, *cache, *(["whole head"] if self.full_head else [])]) or "usual"


def by_length(route: Route, wanted: Tensor, run: Callable[[Tensor], Iterable[Tensor]]) -> Iterator[Tensor]:
    """Logits ``[wanted positions, vocabulary]``, row-major, in as many calls of ``run`` as ``route.rows`` requires.

    ``wanted bool [rows, columns]``: a row ends at its last wanted column, and rows without any are left out.
    ``run(rows int64 [n])`` returns the logits of these rows in parts.
    """
    columns = torch.arange(1, wanted.shape[1] + 1, device=wanted.device)
    last = (wanted * columns).amax(dim=1)
    rows = last.nonzero().squeeze(1)
    if route.rows == "any":
        yield from run(rows)
        return
    groups = rows.split(1) if route.rows == "one" else [rows[last[rows] == size] for size in last[rows].unique()]
    number = wanted.flatten().cumsum(dim=0).reshape(wanted.shape) - 1
    logits: Tensor | None = None
    for group in groups:
        part = torch.cat(list(run(group)))
        if logits is None:
            logits = part.new_empty(int(number[-1, -1]) + 1, part.shape[1])
        logits[number[group][wanted[group]]] = part
    if logits is not None:
        yield logits


def read_tokens(x: Tensor, width: int) -> Prefixes:
    """The first ``width`` tokens of ``x int64 [rows, ...]`` themselves, kept where a cache has keys and values."""
    kept = x[:, None, :width, None]
    return Prefixes([(kept, kept)], torch.full_like(x[:, 0], width), 0)


def with_read_tokens(before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Prefixes]:
    """What ``Autoregressive.extend`` of ``tokens`` after ``read_tokens`` is to read anew: texts and what is wanted.

    ``tokens int64 [rows, m]`` and ``wanted bool [rows, m]`` as for ``extend``. Returns texts ``int64 [rows, width]``,
    right-padded with arbitrary tokens, ``bool [rows, width + 1]`` as for ``Autoregressive.logits``, and the prefixes
    that end with ``tokens``.
    """
    kept = torch.cat([before.layers[0][0], tokens[:, None, :, None]], dim=2)
    after = before.extended([(kept, kept)], tokens.shape[1])
    width = kept.shape[2]
    first = (width - after.counts).unsqueeze(1)  # rows end together
    x = kept[:, 0, :, 0].gather(1, (torch.arange(width, device=first.device) + first).clamp(max=width - 1))
    marked = wanted.new_zeros(len(x), width + 1)
    place = before.counts.unsqueeze(1) + 1 + torch.arange(tokens.shape[1], device=first.device)
    return x, marked.scatter(1, place, wanted), after
