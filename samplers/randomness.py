"""Random draws that touch no global state: every function takes its generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from samplers.errors import InvalidInput

__all__ = [
    "Weights",
    "cached_parts",
    "categorical",
    "draw_site",
    "generator",
    "log_share",
    "log_uniform",
    "nth_site",
    "scoped_global_seed",
]

BLOCK = 128  # values whose sum is looked up first
CACHED = 64


def generator(seed: int, shard: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of shard ``shard`` of a run: a function of ``(seed, shard)`` and the device alone."""
    if not isinstance(seed, Integral) or seed < 0:
        raise InvalidInput(f"seed is {seed!r}; give a whole number, 0 or more")
    word = np.random.SeedSequence(int(seed), spawn_key=(shard,)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(word) >> 1)


def log_uniform(count: int, rng: torch.Generator) -> Tensor:
    """``float64 [count]`` of ``log u``, ``u`` uniform on (0, 1]: minus a standard exponential, so never ``-inf``.

    (A float32 ``rand`` returns exact zeros and floors acceptance at 6e-8.)
    """
    return -torch.empty(count, dtype=torch.float64, device=rng.device).exponential_(generator=rng)


class Weights:
    """Rows of weights ``[rows, values]``, 0 or more, that are drawn from and evaluated in proportion.

    float64, or float32 for what a model tells in that. Each row must hold a weight above 0 and no NaN.

    A draw looks for its block of values by the blocks' sums, then for the value by the running sum of that block: none
    over all values is made. The law evaluated is the one drawn from, ``P(block) P(value | block)``, also in the last
    bits: a block's sum, rounded as it may be, decides the first factor alone.
    """

    def __init__(self, weights: Tensor) -> None:
        values = weights.shape[1]
        size = min(values, BLOCK)
        blocks = -(-values // size)
        if values % size:
            weights = pad(weights, (0, blocks * size - values))
        self._blocks = weights.view(len(weights), blocks, size)

    @cached_property
    def _shares(self) -> Tensor:
        """``float64 [rows, blocks]``, up to a factor a row."""
        return self._blocks.sum(dim=2).double()

    @cached_property
    def _sums(self) -> Tensor:
        """``float64 [rows, blocks]``: each block's share with those before it."""
        return self._shares.cumsum(dim=1)

    def _inside(self, block: Tensor) -> Tensor:
        """``float64 [rows, n, BLOCK]`` of ``block int64 [rows, n]``."""
        return self._blocks.gather(1, block.unsqueeze(2).expand(-1, -1, BLOCK)).double()

    def log_prob(self, values: Tensor) -> Tensor:
        """``float64 [rows, n]`` of ``values int64 [rows, n]``."""
        weight = self._blocks.flatten(1).gather(1, values).double()
        if self._blocks.shape[1] == 1:
            return (weight / self._blocks[:, 0].sum(dim=1, keepdim=True, dtype=torch.float64)).log()
        block = values // BLOCK
        total = self._inside(block).sum(dim=2)
        share = self._shares.gather(1, block) / self._sums[:, -1:]
        return (weight / total.where(total > 0, 1.0)).log() + share.log()

    def draw(self, rng: torch.Generator) -> Tensor:
        """``int64 [rows]``: a value of each row."""
        return self.at(torch.rand(len(self._blocks), dtype=torch.float64, device=rng.device, generator=rng))

    def at(self, u: Tensor) -> Tensor:
        """``int64 [rows]``: the value at quantile ``u [rows]``, in [0, 1), by inverse CDF."""
        if self._blocks.shape[1] == 1:
            cumulative = self._blocks[:, 0].double().cumsum(dim=1)
            return _first_beyond(cumulative, u.unsqueeze(1) * cumulative[:, -1:]).squeeze(1)
        threshold = u.unsqueeze(1) * self._sums[:, -1:]
        block = _first_beyond(self._sums, threshold)
        before = self._sums.gather(1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
        inside = self._inside(block).squeeze(1).cumsum(dim=1)
        left = (threshold - before) / self._shares.gather(1, block) * inside[:, -1:]
        return (block * BLOCK + _first_beyond(inside, left)).squeeze(1)


def _first_beyond(cumulative: Tensor, threshold: Tensor) -> Tensor:
    """``int64 [rows, 1]``: the first column that exceeds ``threshold [rows, 1]``.

    The threshold is held strictly below the last column, also after rounding: the column then has a weight above 0.
    """
    total = cumulative[:, -1:]
    threshold = torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, threshold, right=True).clamp(max=cumulative.shape[1] - 1)


def categorical(log_weights: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [rows]`` drawn from ``[rows, values]`` log-weights; ``-inf`` is never drawn.

    Each row must hold a finite log-weight and no NaN; one that is 1e-38 of the sum in float32 is none.
    """
    return Weights(log_weights.softmax(dim=1)).draw(rng)


def log_share(log_weights: Tensor, values: Tensor) -> Tensor:
    """``float64 [rows, n]``: log-probabilities of ``values int64 [rows, n]`` under the law of ``categorical``."""
    parts = zip(cached_parts(log_weights), cached_parts(values), strict=True)
    return torch.cat([Weights(part.softmax(dim=1)).log_prob(wanted) for part, wanted in parts])


def cached_parts(rows: Tensor) -> Sequence[Tensor]:
    """Rows over a vocabulary in parts of which a processor's cache holds all that is made; all at once elsewhere."""
    return rows.split(CACHED) if rows.device.type == "cpu" else [rows]


def draw_site(free: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [chains]``: for each row of ``bool [chains, sites]`` one of its true sites, uniformly."""
    return categorical(free.double().log(), rng)


def nth_site(free: Tensor, turn: Tensor | int) -> Tensor:
    """``int64 [chains]``: the ``turn``-th true site of each row, counted around."""
    counts = free.sum(dim=1)
    wanted = torch.as_tensor(turn, device=free.device) % counts + 1
    return torch.searchsorted(free.cumsum(dim=1), wanted.unsqueeze(1)).squeeze(1)


@contextmanager
def scoped_global_seed(rng: torch.Generator) -> Iterator[None]:
    """Run code that reads torch's global generator (``torch.distributions``) as a function of ``rng``; then restore."""
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield
