"""Random draws without global state: every function takes a generator."""

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
    "check_seed",
    "draw_site",
    "generator",
    "joined",
    "log_share",
    "log_uniform",
    "nth_site",
    "repeated",
    "scoped_global_seed",
    "systematic",
]

BLOCK = 128  # values whose sum is searched before the values themselves
COUNTERS, WORDS = 3, 624  # of 8 bytes each, in the state of torch's CPU generator: counters, then the words
SEED_BITS = 4096
CACHED = 64  # rows over a vocabulary that fit the cache of a processor


def generator(
    seed: int, shard: int = 0, device: torch.device | str = "cpu", *, stream: str = "chains"
) -> torch.Generator:
    """A generator for one use of a seed: every ``(seed, shard, stream)`` has an independent stream of its own.

    ``seed`` and ``shard`` are whole numbers from 0 on, of up to 4,096 bits. ``stream`` names the use: ``sample`` and
    ``anneal`` draw from ``"chains"``; the other functions that take a seed each have a stream of their own.

    On the CPU all 624 words of the Mersenne Twister are filled by numpy's ``SeedSequence``, as numpy does; torch's own
    ``manual_seed`` reads 32 bits of a seed there. Elsewhere the generator is Philox, whose key has 64 bits.
    """
    check_seed(seed)
    check_seed(shard, "shard")
    use = int.from_bytes(stream.encode(), "little")
    sequence = np.random.SeedSequence(int(seed), spawn_key=(int(shard), use))
    rng = torch.Generator(device)
    if rng.device.type != "cpu":
        return rng.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    return _fill(rng, torch.from_numpy(np.random.MT19937(sequence).state["state"]["key"].astype(np.int64)))


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise ``InvalidInput`` unless it is a whole number from 0 on, which can be written down."""
    if isinstance(seed, Integral) and (size := int(seed).bit_length()) > SEED_BITS:
        raise InvalidInput(f"{name} has {size:,} bits; give at most {SEED_BITS:,}")
    if not isinstance(seed, Integral) or seed < 0:
        raise InvalidInput(f"{name} is {seed!r}; give a whole number, 0 or more")


def _fill(rng: torch.Generator, words: Tensor) -> torch.Generator:
    """Start a CPU generator from ``words int64 [624]``, each of 32 bits."""
    rng.manual_seed(int(words[1]))  # also sets the counters, and forgets a normal number that was kept
    state = rng.get_state()
    state.view(torch.int64)[COUNTERS : COUNTERS + WORDS] = words
    return rng.set_state(state)


def log_uniform(count: int, rng: torch.Generator) -> Tensor:
    """``float64 [count]`` of ``log u``, ``u`` uniform on (0, 1] in steps of 2**-53.

    Never ``-inf``: a float32 ``rand`` returns exact zeros, and no acceptance probability below 6e-8 is right. Not made
    by ``exponential_``, which in some builds of torch has a generator of 31 bits.
    """
    return torch.log1p(-torch.rand(count, dtype=torch.float64, device=rng.device, generator=rng))


class Weights:
    """Categorical distributions given by rows of weights ``[rows, values]``, 0 or more, float64 or float32.

    Each row must hold a weight above 0 and no NaN.

    A draw searches the sums of blocks of values, then the running sum inside one block, so that no running sum over all
    values is needed. The densities are those of this two-stage draw, ``P(block) P(value | block)``, to the last bit:
    rounding of a block's sum affects the first factor only.
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
        """``float64 [rows, blocks]``: the probability of each block, up to a factor for each row."""
        return self._blocks.sum(dim=2).double()

    @cached_property
    def _sums(self) -> Tensor:
        """``float64 [rows, blocks]``: running sums of ``_shares``."""
        return self._shares.cumsum(dim=1)

    def _inside(self, block: Tensor) -> Tensor:
        """``float64 [rows, n, BLOCK]``: the weights inside ``block int64 [rows, n]``."""
        return self._blocks.gather(1, block.unsqueeze(2).expand(-1, -1, BLOCK)).double()

    @cached_property
    def _total(self) -> Tensor:
        """``float64 [rows, 1]``: the sum of ``_shares``."""
        return self._sums[:, -1:]

    def log_prob(self, values: Tensor) -> Tensor:
        """``float64 [rows, n]``: log-probabilities of ``values int64 [rows, n]``."""
        weight = self._blocks.flatten(1).gather(1, values).double()
        if self._blocks.shape[1] == 1:
            return (weight / self._blocks[:, 0].sum(dim=1, keepdim=True, dtype=torch.float64)).log()
        block = values // BLOCK
        total = self._inside(block).sum(dim=2)
        share = self._shares.gather(1, block) / self._total
        return (weight / total.where(total > 0, 1.0)).log() + share.log()

    def draw(self, rng: torch.Generator) -> Tensor:
        """``int64 [rows]``: one value for each row."""
        return self.at(torch.rand(len(self._blocks), dtype=torch.float64, device=rng.device, generator=rng))

    def at(self, u: Tensor) -> Tensor:
        """``int64 [rows]``: the value at quantile ``u [rows]``, in [0, 1)."""
        if self._blocks.shape[1] == 1:
            cumulative = self._blocks[:, 0].double().cumsum(dim=1)
            total = cumulative[:, -1:]
            return _first_beyond(cumulative, total, u.unsqueeze(1) * total).squeeze(1)
        return self._found(u)[0].squeeze(1)

    def at_with_log_prob(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """``at(u)``, and the ``log_prob`` of these values, ``float64 [rows]``, for less than the two calls cost."""
        if self._blocks.shape[1] == 1:
            value = self.at(u)
            return value, self.log_prob(value.unsqueeze(1)).squeeze(1)
        value, place, weights, share = self._found(u)
        inside = weights.gather(1, place) / weights.sum(dim=1, keepdim=True)
        return value.squeeze(1), (inside.log() + (share / self._total).log()).squeeze(1)

    def _found(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The values at ``u``, their places inside their blocks, the blocks' weights ``[rows, BLOCK]`` and shares.

        For ``u`` below 1 in float64, ``u * total`` rounds to less than ``total``: its block has a share above 0.
        """
        threshold = u.unsqueeze(1) * self._total
        block = torch.searchsorted(self._sums, threshold, right=True).clamp(max=self._sums.shape[1] - 1)
        before, share = pad(self._sums, (1, 0)).gather(1, block), self._shares.gather(1, block)
        weights = self._inside(block).squeeze(1)
        inside = weights.cumsum(dim=1)
        total = inside[:, -1:]
        place = _first_beyond(inside, total, (threshold - before) / share * total)
        return torch.add(place, block, alpha=BLOCK), place, weights, share


def _first_beyond(cumulative: Tensor, total: Tensor, threshold: Tensor) -> Tensor:
    """``int64 [rows, 1]``: the first column that exceeds ``threshold [rows, 1]``.

    Where rounding has brought the threshold up to the ``total [rows, 1]``, the last column of ``cumulative``, it is the
    last one of a weight above 0.
    """
    last = (cumulative < total).sum(dim=1, keepdim=True)
    return torch.minimum(torch.searchsorted(cumulative, threshold, right=True), last)


def categorical(log_weights: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [rows]`` drawn from ``[rows, values]`` log-weights; ``-inf`` is never drawn.

    Each row must hold a finite log-weight and no NaN. In float32, values with less than 1e-38 of the sum are never
    drawn.
    """
    return Weights(log_weights.softmax(dim=1)).draw(rng)


def repeated(log_weights: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``int64 [count]``, all drawn from one distribution of ``[values]`` log-weights, as in ``categorical``."""
    cumulative = log_weights.double().softmax(dim=0).cumsum(dim=0).unsqueeze(0)
    u = torch.rand(1, count, dtype=torch.float64, device=rng.device, generator=rng)
    total = cumulative[:, -1:]
    return _first_beyond(cumulative, total, u * total).squeeze(0)


def systematic(log_weights: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [rows]``: systematic resampling of as many rows as there are ``log_weights [rows]``.

    Row ``i`` comes ``floor`` or ``ceil`` of ``rows * w_i`` times, ``rows * w_i`` on average. Carpenter, Clifford and
    Fearnhead 1999, IEE Proc. Radar Sonar Navig. 146. One row at least must have a finite log-weight.
    """
    rows = len(log_weights)
    cumulative = log_weights.double().softmax(dim=0).cumsum(dim=0).unsqueeze(0)
    u = torch.rand(1, dtype=torch.float64, device=rng.device, generator=rng)
    comb = (torch.arange(rows, dtype=torch.float64, device=u.device) + u) / rows
    total = cumulative[:, -1:]
    return _first_beyond(cumulative, total, comb.unsqueeze(0) * total).squeeze(0)


def log_share(log_weights: Tensor, values: Tensor) -> Tensor:
    """``float64 [rows, n]``: log-probabilities of ``values int64 [rows, n]`` in ``categorical(log_weights, rng)``."""
    parts = zip(cached_parts(log_weights), cached_parts(values), strict=True)
    return joined([Weights(part.softmax(dim=1)).log_prob(wanted) for part, wanted in parts])


def cached_parts(rows: Tensor) -> Sequence[Tensor]:
    """``rows [rows, vocabulary]`` in parts that fit a processor's cache; in one part on other devices."""
    return rows.split(CACHED) if rows.device.type == "cpu" and len(rows) > CACHED else [rows]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all parts; the part itself where there is one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def draw_site(free: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [chains]``: for each row of ``free bool [chains, sites]`` one of its true sites, drawn uniformly."""
    return categorical(free.double().log(), rng)


def nth_site(free: Tensor, turn: Tensor | int) -> Tensor:
    """``int64 [chains]``: the ``turn``-th true site of each row, counting from the first again after the last."""
    counts = free.sum(dim=1)
    wanted = torch.as_tensor(turn, device=free.device) % counts + 1
    return torch.searchsorted(free.cumsum(dim=1), wanted.unsqueeze(1)).squeeze(1)


@contextmanager
def scoped_global_seed(rng: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from ``rng`` inside the block, and restore it afterwards.

    For code that reads it, such as ``torch.distributions``.
    """
    words = torch.randint(2**32, (WORDS,), generator=rng, device=rng.device).cpu()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        _fill(torch.default_generator, words)
        if devices:
            torch.cuda.manual_seed_all(int(words[0]) << 32 | int(words[1]))
        yield
