"""Random draws that touch no global state: every function takes its generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from samplers.errors import InvalidInput

__all__ = ["categorical", "draw_site", "generator", "inverse_cdf", "log_uniform", "nth_site", "scoped_global_seed"]


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


def categorical(log_prob: Tensor, rng: torch.Generator) -> Tensor:
    """``int64 [rows]`` drawn from ``float64 [rows, values]`` log-weights by inverse CDF; ``-inf`` is never drawn.

    Each row must hold a finite weight and no NaN.
    """
    return inverse_cdf(log_prob, torch.rand(len(log_prob), dtype=torch.float64, device=rng.device, generator=rng))


def inverse_cdf(log_prob: Tensor, u: Tensor) -> Tensor:
    """``int64 [rows]``: the value at quantile ``u [rows]``, in [0, 1), of log-weights as ``categorical`` takes them."""
    weights = (log_prob - log_prob.amax(dim=1, keepdim=True)).exp()
    cumulative = weights.cumsum(dim=1)
    total = cumulative[:, -1:]
    # Strictly below the total even after rounding: the first value that exceeds the threshold then has weight > 0.
    threshold = torch.minimum(u.unsqueeze(1) * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(1)


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
