"""The files of one shard of a run: chunks of rows, and the commit record without which they mean nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from samplers.errors import StoreError
from samplers.storage.atomic_files import exists, make_folder
from samplers.storage.tensor_file import Expected, Form, Record, damaged, digest, load_facts, load_record, save_record

__all__ = ["PUT_BACK", "SHARDS", "Committed", "Meter", "RowCount", "ShardStore"]

Meter = Callable[[], Mapping[str, float]]
"""Returns running totals, such as seconds and forward passes, which each commit stores."""

Committed = Callable[[list[Path]], None]
"""Called after a commit with the files that it has written, the commit record last."""

RowCount = Callable[[int, int], int]
"""``count(start, end)``: the number of rows that the steps ``start..end-1`` give."""

SHARDS = "shards"
LARGEST_TOTAL = 2.0**63
STATES = ("x", "draws")  # names of tensors of states, in rows and in commits
PUT_BACK = "restore it from a copy, or start again in another folder"


class ShardStore:
    """The files of shard ``index`` of the run in ``run``: call ``load`` first, then ``commit`` as the shard is run.

    ``every``: steps between commits. ``read_fingerprint`` returns that of the run; ``make`` makes the run's folder, if
    it is not there yet. ``is_state``: whether ``x [rows, ...]`` are states; a file with others is damaged.
    ``committed`` is told of each commit.
    """

    def __init__(
        self,
        run: Path,
        index: int,
        *,
        every: int,
        meter: Meter,
        read_fingerprint: Callable[[], Mapping[str, Any]],
        make: Callable[[], None],
        is_state: Callable[[Tensor], bool] | None,
        committed: Committed | None = None,
    ) -> None:
        self.path = run / SHARDS / f"{index:05d}"
        self.done = self.rows_to = 0
        self.make = make
        self._index, self._every, self._meter, self._is_state = index, every, meter, is_state
        self._read_fingerprint, self._committed = read_fingerprint, committed
        self._meter_before: dict[str, float] = {}
        self._meter_at_load = dict(self._meter())

    @property
    def record_path(self) -> Path:
        return self.path / "commit.safetensors"

    @cached_property
    def identity(self) -> str:
        """Digest of the run's fingerprint and the shard's number, which every file of the shard holds."""
        return digest({}, json.dumps([self._read_fingerprint(), self._index], sort_keys=True))

    def due(self, done: int) -> bool:
        """Whether to commit after ``done`` steps."""
        return done % self._every == 0

    def load_facts(self) -> dict[str, Any] | None:
        """The facts of the commit record; ``None`` if there is no commit. Sets ``done``, the number of steps committed.

        Its tensors are not read.
        """
        for folder in (self.path.parent, self.path):
            if folder.is_symlink():
                raise StoreError(f"{str(folder)!r} is a symbolic link; a run has its files in its own folder only")
        # Before the next line, as another process may be writing.
        later = any(path != self._chunk(0) for path in self.path.glob("[0-9]*"))
        if not exists(self.record_path):
            if later:
                raise StoreError(f"{str(self.record_path)!r} is missing; {PUT_BACK}")
            return None  # there may be a first chunk, of a process that was killed before the first commit
        facts = load_facts(self.record_path)
        self._check_identity(self.record_path, facts)
        done, rows_to, meter = (facts.get(name) for name in ("done", "rows_to", "meter"))
        if not (_count(done) and _count(rows_to) and rows_to <= done) or not _totals_only(meter):
            raise StoreError(damaged(self.record_path))
        self.done, self.rows_to, self._meter_before = done, rows_to, meter
        self._meter_at_load = dict(self._meter())
        return facts

    def load(self, expected: Callable[[Mapping[str, Form]], bool] | None = None) -> Record | None:
        """The commit record; ``None`` if there is no commit. Sets ``done``, the number of steps committed.

        ``expected``: whether its tensors may have these forms; otherwise they are not read.
        """
        if self.load_facts() is None:
            return None
        return self._checked(self.record_path, lambda forms, _: expected is None or expected(forms))

    def commit(
        self, done: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], rows: Mapping[str, Tensor]
    ) -> None:
        """Commit ``done`` steps: the ``rows`` since the last commit, then the ``tensors`` that the next step needs.

        Raises ``StoreError``; the last commit then stays valid.
        """
        self.make()
        try:
            make_folder(self.path)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be created ({error.strerror})") from error
        rows_to, written = self.rows_to, [self.record_path]
        if any(len(row) for row in rows.values()):
            written.insert(0, self._chunk(rows_to))
            save_record(written[0], rows, {"of": self.identity, "start": rows_to, "end": done})
            rows_to = done
        facts = {**facts, "of": self.identity, "done": done, "rows_to": rows_to, "meter": self._totals()}
        save_record(self.record_path, tensors, facts)
        self.done, self.rows_to = done, rows_to
        if self._committed:
            self._committed(written)

    def rows(self, empty: Mapping[str, Tensor], count: RowCount | None = None) -> dict[str, Tensor]:
        """All committed rows, in order, on the CPU. ``empty`` has for each name a tensor of no rows.

        Raises ``StoreError`` for a chunk that is missing, damaged, of another run, of other types and shapes, or with
        another number of rows than ``count`` says; without it, with more rows than steps.
        """
        parts: dict[str, list[Tensor]] = {name: [tensor.cpu()] for name, tensor in empty.items()}
        for chunk in self.chunks(empty, count):
            for name, part in chunk.items():
                parts[name].append(part)
        return {name: torch.cat(part) for name, part in parts.items()}

    def chunks(self, empty: Mapping[str, Tensor], count: RowCount | None = None) -> Iterator[dict[str, Tensor]]:
        """The committed rows chunk by chunk; arguments and errors as in ``rows``."""
        start = 0
        while start < self.rows_to:
            path = self._chunk(start)
            tensors, facts = self._checked(path, _of_rows(empty, start, self.rows_to, count))
            for name, tensor in tensors.items():
                wrong = tensor.isnan() if name in STATES else tensor.isnan() | (tensor == -torch.inf)
                if bool(wrong.any()):
                    raise StoreError(damaged(path))
            yield tensors
            start = facts["end"]

    def _checked(self, path: Path, expected: Expected) -> Record:
        record = load_record(path, expected)
        self._check_identity(path, record.facts)
        for name, tensor in record.tensors.items():
            states = name.rpartition("/")[2] in STATES and tensor.dim() > 1 and tensor.numel() and self._is_state
            if states and not states(tensor.flatten(0, -2)):
                raise StoreError(f"{str(path)!r} holds values that are none of this run; {PUT_BACK}")
        return record

    def _check_identity(self, path: Path, facts: Mapping[str, Any]) -> None:
        if facts.get("of") != self.identity:
            raise StoreError(f"{str(path)!r} is of another run, or of another shard; {PUT_BACK}")

    def _chunk(self, start: int) -> Path:
        return self.path / f"{start:08d}.safetensors"

    def _totals(self) -> dict[str, float]:
        now = self._meter()
        return {
            name: self._meter_before.get(name, 0) + value - self._meter_at_load.get(name, 0)
            for name, value in now.items()
        }


def _count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _totals_only(meter: Any) -> TypeGuard[dict[str, float]]:
    """Whether it maps names to numbers that can be added up."""
    return isinstance(meter, dict) and all(type(n) in (int, float) and 0 <= n < LARGEST_TOTAL for n in meter.values())


def _of_rows(empty: Mapping[str, Tensor], start: int, last: int, count: RowCount | None) -> Expected:
    """Whether a file is a chunk from ``start`` on, with the names, types and shapes of ``empty``, and so many rows."""

    def expected(forms: Mapping[str, Form], facts: Mapping[str, Any]) -> bool:
        end = facts.get("end")
        if facts.get("start") != start or not _count(end) or not start < end <= last or forms.keys() != empty.keys():
            return False
        if any(forms[name][0] != one.dtype or forms[name][1][1:] != one.shape[1:] for name, one in empty.items()):
            return False
        sizes = {shape[:1] for _, shape in forms.values()}
        if len(sizes) != 1 or not (size := sizes.pop()):
            return False
        return size[0] == count(start, end) if count else 0 < size[0] <= end - start

    return expected
