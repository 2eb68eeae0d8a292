"""What a run's folder holds of its draws, read without kernel, energy or model: also of a run that stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.errors import StoreError
from samplers.randomness import generator
from samplers.run.independent_draws import KeptDraws
from samplers.run.resume import NAN
from samplers.run.trace import Trace, TraceBuilder
from samplers.storage.run_store import RunStore
from samplers.storage.shard_store import ShardStore
from samplers.storage.state_dict import memory_name
from samplers.storage.tensor_file import Form, damaged, form_of
from samplers.types import ChainState

__all__ = ["StoredStates", "stored_annealed", "stored_draws", "stored_states", "stored_traces"]


class StoredStates(NamedTuple):
    """``x [n, ...]`` and ``energy float64 [n]`` of a shard as they were committed after ``done`` steps, or stages."""

    done: int
    x: Tensor
    energy: Tensor


def stored_states(store: RunStore, shards: int) -> Iterator[StoredStates]:
    """Where the chains or particles of each of so many ``shards`` are, for a look at a run under way.

    Raises ``StoreError`` for damaged files.
    """

    def possible(forms: Mapping[str, Form]) -> bool:
        (_, x), (kind, energy) = forms.get("x", (None, ())), forms.get("energy", (None, ()))
        return kind == torch.float64 and len(energy) == 1 and x[:1] == energy

    for index in range(shards):
        files = store.shard(index)
        if record := files.load(possible):
            yield StoredStates(files.done, record.tensors["x"], record.tensors["energy"])


def stored_traces(
    store: RunStore,
    x0: Tensor,
    *,
    shard_size: int,
    warmup: int,
    thin: int,
    term_names: Sequence[str],
    move_names: Sequence[str],
) -> Iterator[tuple[int, int, Trace]]:
    """For each shard of a run of ``sample`` that has a commit: its first chain, the steps done, and the kept draws.

    ``x0 [chains, ...]``: only its type and shape count. Raises ``StoreError`` for damaged files.
    """
    for first, start, files in _begun_shards(store, x0, shard_size):
        builder = TraceBuilder(move_names, start, terms=len(term_names), warmup=warmup, thin=thin)
        rows = files.rows(builder.take_rows(), builder.row_count)
        terms = torch.zeros(len(start), len(term_names), dtype=torch.float64)
        like = {"x": start, "energy": terms.sum(dim=1), "terms": terms, memory_name("counts"): builder.counts}
        saved = _commit(files, like)
        memory = {"counts": saved[memory_name("counts")]}
        if not builder.is_possible(memory, files.done):
            raise StoreError(damaged(files.record_path))
        builder.restore(memory)
        state = ChainState(saved["x"], saved["energy"], {}, saved["terms"])
        yield first, files.done, builder.finish(tuple(term_names), state, rows, int(saved[memory_name(NAN)][1]))


def stored_annealed(
    store: RunStore, x0: Tensor, *, shard_size: int, terms: int
) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
    """For each shard of a run of ``anneal`` that has a commit: its first chain, the steps done, the best so far.

    That is ``x``, ``energy``, ``terms``, ``found_at`` and ``history`` as ``Annealed`` has them, and ``nan_rejected``, a
    number.
    ``terms`` is the number of terms; other arguments and errors as for ``stored_traces``.
    """
    for first, start, files in _begun_shards(store, x0, shard_size):
        zeros = torch.zeros(len(start), terms, dtype=torch.float64)
        like = {"x": start, "energy": zeros.sum(dim=1), "terms": zeros, "found_at": zeros.sum(dim=1).long()}
        rows = files.rows({"history": torch.empty(0, len(start), dtype=torch.float64)}, lambda begin, end: end - begin)
        saved = _commit(files, {memory_name(name): tensor for name, tensor in like.items()})
        best = {name: saved[memory_name(name)] for name in like}
        if not bool(((best["found_at"] >= -1) & (best["found_at"] < files.done)).all()):
            raise StoreError(damaged(files.record_path))
        yield first, files.done, {**best, "history": rows["history"].T, "nan_rejected": saved[memory_name(NAN)][1]}


def stored_draws(store: RunStore, scalars: Sequence[str]) -> tuple[int, dict[str, Tensor]]:
    """Trials done and rows kept of a run of independent draws; no rows where there are none.

    ``scalars``: ``energy`` of ``rejection_sample``; ``log_q`` and ``energy`` of ``importance_sample``. Raises
    ``StoreError`` for damaged files.
    """
    kept = KeptDraws(scalars, generator(0), store.shard(0), lambda: None)
    return kept.done, kept.rows if kept.count else {}


def _begun_shards(store: RunStore, x0: Tensor, shard_size: int) -> Iterator[tuple[int, Tensor, ShardStore]]:
    for index, first in enumerate(range(0, len(x0), shard_size)):
        files = store.shard(index)
        if files.load_facts() is not None:
            yield first, x0[first : first + shard_size], files


def _commit(files: ShardStore, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a commit record, of which some must be ``like`` these."""
    wanted = {name: form_of(tensor) for name, tensor in like.items()} | {memory_name(NAN): (torch.int64, (2,))}
    record = files.load(lambda forms: all(forms.get(name) == form for name, form in wanted.items()))
    assert record is not None, "there is a commit"
    return record.tensors
