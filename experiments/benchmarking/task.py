"""What a workload is: a kernel at work on models, its floor and the loop by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from experiments.benchmarking.recording import Move
from experiments.benchmarking.timing import Stage
from lm_adapters import MaskedLM
from samplers import Energy, Kernel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["SHORTEST", "STARTS", "Size", "Task"]

SHORTEST = 3  # tokens, where lengths vary
STARTS = 32  # texts that differ; more chains than that share them


@dataclass(frozen=True)
class Size:
    """``length``: tokens of a text, or the most where it varies; ``k``: candidates that are scored at a site."""

    chains: int = 32
    length: int = 16
    k: int = 64

    def __str__(self) -> str:
        return f"{self.chains:,} chains, {self.length} tokens, {self.k} candidates"


@dataclass(frozen=True)
class Task:
    """A kernel at work.

    ``floor(move)`` has, for a move that a step proposed, the stages of bare passes that the mathematics needs, in
    order. ``by_hand`` takes a step of the loop people write, of ``by_hand_chains`` chains, at every ``next``.
    ``proposer`` is the masked model whose rows the floor has to know; ``models`` are all whose passes count. Where the
    kernel has no energy of its own, ``watched`` is the one whose ESS is reported; there is none where the states are
    not ``sampled``.
    """

    kernel: Kernel
    energy: Energy
    x0: Tensor
    floor: Callable[[Move], Iterator[Stage]]
    by_hand: Iterator[Any]
    models: Sequence[PreTrainedModel]
    proposer: MaskedLM | None = None
    watched: Energy | None = None
    by_hand_chains: int = 1
    sampled: bool = True
