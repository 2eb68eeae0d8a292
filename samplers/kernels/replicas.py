"""Replicas of each chain that exchange states: what kernels with several rungs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from samplers.randomness import log_uniform
from samplers.types import ChainState, select

__all__ = ["counters", "swap_matrix", "swap_neighbours", "swap_report"]

LogRatio = Callable[[int, Sequence[Tensor]], Tensor]


def counters(rungs: int, x: Tensor) -> dict[str, Tensor]:
    """The part of a kernel's ``aux`` that counts swaps and round trips of the chains ``x [chains, ...]``."""
    chains, pairs = len(x), rungs - 1
    return {
        "turn": torch.zeros((), dtype=torch.int64),
        "tried": torch.zeros(pairs, dtype=torch.int64),
        "swapped": torch.zeros(pairs, dtype=torch.int64),
        # A replica that has visited the hottest rung is marked; when it returns to rung 0, that is a round trip.
        "marked": torch.zeros(rungs, chains, dtype=torch.bool, device=x.device),
        "round_trips": torch.zeros(chains, dtype=torch.int64, device=x.device),
    }


def swap_neighbours(
    replicas: Sequence[Tensor], first: int, log_ratio: LogRatio, aux: dict[str, Any], rng: torch.Generator
) -> list[Tensor]:
    """Try the pairs ``(first, first+1), (first+2, first+3), ...``; each chain accepts or rejects on its own.

    ``replicas``: tensors ``[rungs, chains, ...]``, which are exchanged together. ``log_ratio(low, replicas)`` is
    ``float64 [chains]``, that of a swap of the rungs ``low`` and ``low + 1``. ``aux`` holds the ``counters``.
    """
    rungs, chains = replicas[0].shape[:2]
    replicas = [*replicas, aux["marked"]]
    aux["tried"], aux["swapped"] = aux["tried"].clone(), aux["swapped"].clone()
    for low in range(first, rungs - 1, 2):
        swap = log_uniform(chains, rng) < log_ratio(low, replicas)
        for index, part in enumerate(replicas):
            part = part.clone()
            part[low], part[low + 1] = (
                select(swap, part[low + 1], part[low]),
                select(swap, part[low], part[low + 1]),
            )
            replicas[index] = part
        aux["tried"][low] += chains
        aux["swapped"][low] += int(swap.sum())
    marked = replicas.pop().clone()
    marked[-1] = True
    aux["round_trips"] = aux["round_trips"] + marked[0]
    marked[0] = False
    aux["marked"] = marked
    return replicas


def swap_matrix(log_ratio: Tensor, rungs: int, low: int) -> Tensor:
    """``float64 [from, to]`` of the swap of rungs ``low`` and ``low + 1``, on tuples of states, the last one fastest.

    ``log_ratio [states, states]``: of the state at ``low`` and the state at ``low + 1``.
    """
    size = len(log_ratio)
    points = torch.arange(size**rungs)
    place, next_place = size ** (rungs - 1 - low), size ** (rungs - 2 - low)
    i, j = points // place % size, points // next_place % size
    accept = log_ratio[i, j].clamp(max=0).exp()
    matrix = torch.diag(1 - accept)
    matrix.index_put_((points, points + (j - i) * (place - next_place)), accept, accumulate=True)
    return matrix


def swap_report(state: ChainState) -> dict[str, Any]:
    """Statistics of a run with ``Tempered`` or ``PathTempered``, whose last state is ``state``.

    ``swap_rates``: share of accepted swaps for each pair of neighbours, NaN if none was tried; ``round_trips``: for
    each chain, how often a replica went from the coldest rung to the hottest and returned. ``barrier``: the sum of the
    rejection rates, which hardly depends on the rungs once they are many; ``rungs_wanted``: so many, placed evenly
    along it, make round trips the most frequent for their cost, ``2 barrier + 1`` (Syed et al. 2021, J. R. Stat. Soc.
    B 84, section 5.1), 0 if it is not known. ``rungs``: where those of ``PathTempered`` are.
    """
    rates = state.aux["swapped"].double() / state.aux["tried"].double()
    barrier = float((1 - rates).sum())
    wanted = 0 if math.isnan(barrier) else math.ceil(2 * barrier) + 1
    placed = {"rungs": state.aux["rungs"].tolist()} if "rungs" in state.aux else {}
    trips = state.aux["round_trips"].tolist()
    return {"swap_rates": rates.tolist(), "round_trips": trips, "barrier": barrier, "rungs_wanted": wanted, **placed}
