"""What ``sample`` returns: draws, energies, terms, acceptance by move, and diagnostics."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.energy.terms import term_names
from samplers.run.diagnostics import Diagnostics, diagnose
from samplers.types import ChainState, Energy, StepInfo

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = ["MoveCount", "Trace", "TraceBuilder", "versions"]

COUNTED = 64  # steps whose moves are counted together


@dataclass(frozen=True)
class MoveCount:
    """How often one move was tried, was accepted and changed the state, after the warm-up, over all chains."""

    tried: int
    accepted: int
    changed: int


@dataclass(frozen=True)
class Trace:
    """The kept draws of every chain, which ``sample`` returns.

    ``draws [chains, kept, ...]``; ``energy float64 [chains, kept]`` in nats; ``terms float64 [chains, kept, terms]``,
    weighted, in the order of ``term_names``; ``steps int64 [kept]``: the step after which each was kept; ``moves``:
    counts by name of the move; ``final``: the last state of every shard; ``nan_rejected``: number of scored rows that
    were NaN, with ``nan="reject"``.
    """

    draws: Tensor
    energy: Tensor
    terms: Tensor
    term_names: tuple[str, ...]
    steps: Tensor
    moves: Mapping[str, MoveCount]
    final: tuple[ChainState, ...] = ()
    seed: int | None = None
    observer_failures: int = 0
    nan_rejected: int = 0
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    @staticmethod
    def join(shards: Sequence[Trace], *, seed: int, observer_failures: int = 0) -> Trace:
        """The shards of one run, their chains in order."""
        first = shards[0]
        moves = {
            move: MoveCount(
                *(sum(getattr(s.moves[move], count) for s in shards) for count in ("tried", "accepted", "changed"))
            )
            for move in first.moves
        }
        return Trace(
            draws=torch.cat([s.draws for s in shards]),
            energy=torch.cat([s.energy for s in shards]),
            terms=torch.cat([s.terms for s in shards]),
            term_names=first.term_names,
            steps=first.steps,
            moves=moves,
            final=tuple(state for s in shards for state in s.final),
            seed=seed,
            observer_failures=observer_failures,
            nan_rejected=sum(s.nan_rejected for s in shards),
        )

    def rescored(self, energy: Energy) -> Trace:
        """The same draws with the energies and terms of ``energy``: to judge draws that had no known target."""
        shape = self.energy.shape
        with torch.inference_mode():
            scored = evaluate(energy, self.draws.flatten(0, 1))
        terms = scored.terms.reshape(*shape, -1)
        return replace(self, energy=scored.energy.reshape(shape), terms=terms, term_names=term_names(energy))

    @property
    def acceptance(self) -> float:
        """Share of proposals that were accepted, all moves together."""
        return sum(m.accepted for m in self.moves.values()) / max(1, sum(m.tried for m in self.moves.values()))

    @property
    def changed(self) -> float:
        """Share of steps that changed the state."""
        return sum(m.changed for m in self.moves.values()) / max(1, sum(m.tried for m in self.moves.values()))

    def diagnostics(self, statistics: Mapping[str, Tensor] | None = None) -> dict[str, Diagnostics]:
        """``diagnose`` of the energy and of every named scalar ``[chains, kept]``."""
        scalars = {"energy": self.energy, **(statistics or {})}
        return {name: diagnose(values) for name, values in scalars.items()}

    def to_arviz(self, statistics: Mapping[str, Tensor] | None = None) -> DataTree:
        """``posterior`` holds the draws and the named scalars, ``sample_stats`` energy and terms."""
        import arviz_base

        stats = {"energy": self.energy.cpu().numpy()}
        stats |= {f"term: {name}": self.terms[..., i].cpu().numpy() for i, name in enumerate(self.term_names)}
        scalars = {name: values.cpu().numpy() for name, values in (statistics or {}).items()}
        return arviz_base.from_dict({"posterior": {"x": self.draws.cpu().numpy(), **scalars}, "sample_stats": stats})


class TraceBuilder:
    """The ``Collector`` of ``sample``: every ``thin``-th state of a shard after the warm-up, and counts of moves.

    ``start [chains, ...]`` are the states that the chains start from.
    """

    def __init__(self, move_names: Sequence[str], start: Tensor, *, terms: int, warmup: int, thin: int) -> None:
        self.move_names, self.warmup, self.thin = tuple(move_names), warmup, thin
        self.counts = torch.zeros(3, len(self.move_names), dtype=torch.int64, device=start.device)
        scalar = start.new_empty((0, len(start)), dtype=torch.float64)
        terms_of_all = start.new_empty((0, len(start), terms), dtype=torch.float64)
        self._no_rows = {"draws": start.new_empty((0, *start.shape)), "energy": scalar, "terms": terms_of_all}
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._uncounted: list[StepInfo] = []

    def record_start(self, state: ChainState) -> None:
        """Nothing: the start is no draw."""

    def record(self, step: int, state: ChainState, info: StepInfo) -> None:
        if step < self.warmup:
            return
        self._uncounted.append(info)
        if len(self._uncounted) == COUNTED:
            self._count()
        if (step - self.warmup + 1) % self.thin == 0:
            self._kept.append((state.x.clone(), state.energy.clone(), state.terms.clone()))

    def take_rows(self) -> dict[str, Tensor]:
        """``draws [rows, chains, ...]``, ``energy [rows, chains]`` and ``terms [rows, chains, terms]``."""
        if not (kept := self._kept):
            return self._no_rows
        self._kept = []
        return {name: torch.stack(column) for name, column in zip(self._no_rows, zip(*kept, strict=True), strict=True)}

    def _count(self) -> None:
        """Add the moves of the last steps, all in one go, to ``counts``."""
        if not self._uncounted:
            return
        accepted, changed, move = (torch.cat(each) for each in zip(*self._uncounted, strict=True))
        self._uncounted = []
        self.counts.index_add_(1, move, torch.stack([torch.ones_like(move), accepted.long(), changed.long()]))

    def memory(self) -> dict[str, Tensor]:
        self._count()
        return {"counts": self.counts}

    def row_count(self, start: int, end: int) -> int:
        first, last = (max(0, steps - self.warmup) // self.thin for steps in (start, end))
        return last - first

    def is_possible(self, memory: Mapping[str, Tensor], done: int) -> bool:
        tried, accepted, changed = memory["counts"].cpu()
        most = max(0, done - self.warmup) * self._no_rows["energy"].shape[1]
        parts = bool(((accepted >= 0) & (accepted <= tried) & (changed >= 0) & (changed <= tried)).all())
        return parts and int(tried.double().sum()) <= most

    def restore(self, memory: Mapping[str, Tensor]) -> None:
        self.counts, self._uncounted = memory["counts"].clone(), []

    def finish(self, names: tuple[str, ...], state: ChainState, rows: Mapping[str, Tensor], nan: int = 0) -> Trace:
        self._count()
        counts = self.counts.T.tolist()
        device = state.x.device
        return Trace(
            draws=rows["draws"].transpose(0, 1).to(device),
            energy=rows["energy"].T.to(device),
            terms=rows["terms"].transpose(0, 1).to(device),
            term_names=names,
            steps=self.warmup + self.thin * torch.arange(1, len(rows["energy"]) + 1) - 1,
            moves={name: MoveCount(*count) for name, count in zip(self.move_names, counts, strict=True)},
            final=(state,),
            nan_rejected=nan,
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the draws depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
