"""Independent draws in batches, committed to a run's folder if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplers.errors import Interrupted, InvalidInput, StoreError
from samplers.run.arguments import open_store
from samplers.run.signals import Stop, stop_signals
from samplers.storage.fingerprint import pin_fingerprint
from samplers.storage.run_store import RunStore
from samplers.storage.shard_store import ShardStore
from samplers.storage.tensor_file import Form, damaged, form_of

__all__ = ["KeptDraws", "kept_draws", "stored_device"]

RNG, EMPTY = "rng", "nothing/"  # names in a commit; the second: empty tensors of the types and shapes of the rows


class KeptDraws:
    """The number of trials ``done``, and the ``rows``, ``count`` of them, that they gave, earlier processes included.

    Rows are ``x [rows, ...]`` and, for each name in ``scalars``, ``float64 [rows]``.
    """

    def __init__(self, scalars: Sequence[str], rng: torch.Generator, files: ShardStore | None, stop: Stop) -> None:
        self.done, self.count, self._rng, self._files, self._stop = 0, 0, rng, files, stop
        self._parts: list[dict[str, Tensor]] = []
        if files and (saved := files.load(lambda forms: _is_ours(forms, rng))):
            self.done = files.done
            empty = {n.removeprefix(EMPTY): t for n, t in saved.tensors.items() if n.startswith(EMPTY)}
            scalar = torch.empty(0, dtype=torch.float64)
            if empty.keys() != {"x", *scalars} or any(_form(empty[name]) != _form(scalar) for name in scalars):
                raise StoreError(damaged(files.record_path))
            try:
                rng.set_state(saved.tensors[RNG])
            except (KeyError, TypeError, RuntimeError) as error:
                raise StoreError(damaged(files.record_path)) from error
            device = stored_device(saved.facts.get("device"), files)
            self._parts = [{n: t.to(device) for n, t in files.rows(empty).items()}]
            self.count = len(self._parts[0]["x"])

    @property
    def rows(self) -> dict[str, Tensor]:
        """The rows of all batches, ``[rows, ...]`` by name."""
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}

    def add(self, trials: int, rows: Mapping[str, Tensor]) -> None:
        """Keep a batch. Raises ``Interrupted`` afterwards if SIGINT or SIGTERM was received."""
        if self._parts and any(_form(part) != _form(self._parts[0][name]) for name, part in rows.items()):
            now, was = _form(rows["x"]), _form(self._parts[0]["x"])
            raise InvalidInput(f"the proposal draws {now}, and earlier {was}; give the same proposal")
        self.done += int(trials)
        self.count += len(rows["x"])
        self._parts.append(dict(rows))
        if self._files:
            empty = {f"{EMPTY}{name}": part[:0] for name, part in rows.items()}
            device = str(next(iter(rows.values())).device)
            self._files.commit(self.done, {RNG: self._rng.get_state(), **empty}, {"device": device}, rows)
            if stopped := self._stop():
                raise Interrupted(stopped, self._files.path.parents[1], self.done)


@contextmanager
def kept_draws(
    run_dir: str | Path | RunStore | None,
    facts: Mapping[str, Any],
    rng: torch.Generator,
    scalars: Sequence[str],
) -> Iterator[KeptDraws]:
    """The draws so far of a run whose draws depend on ``facts``.

    Raises as ``sample`` does for a folder that cannot be used or holds another run.
    """
    with open_store(run_dir) as store, stop_signals(caught=store is not None) as stop:
        if store:
            pin_fingerprint(store, facts)
        yield KeptDraws(scalars, rng, store.shard(0) if store else None, stop)


def _is_ours(forms: Mapping[str, Form], rng: torch.Generator) -> bool:
    """Whether a commit may have tensors of these forms: the generator's, and empty ones."""
    empty = all(shape[:1] == (0,) for name, (_, shape) in forms.items() if name != RNG)
    return forms.get(RNG) == form_of(rng.get_state()) and empty


def _form(rows: Tensor) -> str:
    """Type, shape and device of a row, for messages."""
    return f"{rows.dtype} {list(rows.shape[1:])} on {rows.device.type}"


def stored_device(name: Any, files: ShardStore) -> torch.device:
    """The device of the run, ``name`` in its commit. Raises ``InvalidInput`` if there is no such device here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).tolist()  # fails for a device that holds no numbers, such as meta
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"{str(files.record_path)!r} is of a run on {str(name)[:40]!r}, which is not available here"
        ) from error
    return device
