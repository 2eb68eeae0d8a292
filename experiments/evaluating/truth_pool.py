"""Exact draws of a causal model's law within bounds on the length, kept in a folder as they come."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.evaluating.estimate import Estimate, of_independent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lm_adapters import SequenceDistribution, TextSpace

__all__ = ["BATCH", "Pool", "fill_pool"]

BATCH = 2000  # draws of one file: part of what a seed means
LARGEST = 2**30  # bytes of a file


@dataclass(frozen=True)
class Pool:
    """``x int64 [accepted, width]`` and ``energy float64 [accepted]`` in nats, of ``tried`` draws.

    The ``x`` are independent draws of ``exp(-energy)`` among the texts of the bounds, and ``accepted / tried`` times
    any share of them estimates without bias what these texts weigh together.
    """

    space: TextSpace
    x: Tensor
    energy: Tensor
    tried: int

    def holding(self, words: Sequence[str]) -> Estimate:
        """The law given that the words are there, in order: draws that have them, as ``Keywords`` finds them."""
        from lm_adapters import Keywords

        held = Keywords(self.space, words).found(self.x)
        return of_independent("rejection", self.energy[held], self.space.lengths(self.x[held]), self.tried)


def fill_pool(
    folder: Path, distribution: SequenceDistribution, draws: int, seed: int, progress: Callable[[int], object]
) -> Pool:
    """At least ``draws`` draws, of which files in ``folder`` count; what is missing is drawn, a file at a time.

    A text drawn from ``distribution`` (density ``q``: the end is certain at the longest, tokens that are no text never
    come) is accepted with probability ``p / q``, ``p`` the model's own density: never above 1, since ``q`` shares out
    among fewer tokens what ``p`` does among all. Every file has a generator of its own, so that a run that was stopped
    draws the same in the end. Raises ``InvalidInput`` for a folder that holds something else, or draws of another
    model, length or seed, and ``StoreError`` for damaged files.
    """
    import torch

    from samplers import generator
    from samplers.storage import RunStore, exists, write_atomically

    parts: list[tuple[Tensor, Tensor]] = []
    with RunStore(folder) as store:
        store.pin("pool.json", _facts(distribution, seed))
        for number in range(math.ceil(draws / BATCH)):
            path = folder / f"draws-{number:05d}.npz"
            if not exists(path):
                rng = generator(seed, number, distribution.model.allowed.device, stream="truth")
                x, energy = _accepted(distribution, rng)
                data = io.BytesIO()
                np.savez_compressed(data, x=x.numpy().astype(np.int32), energy=energy.numpy())
                write_atomically(path, data.getvalue())
            parts.append(_read(path, distribution.max_length))
            progress(BATCH)
    xs, energies = zip(*parts, strict=True)
    return Pool(distribution.model.space, torch.cat(xs), torch.cat(energies), BATCH * len(parts))


def _accepted(distribution: SequenceDistribution, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    import torch

    from samplers.randomness import log_uniform

    shape = (BATCH, distribution.max_length)
    with torch.inference_mode():
        empty = torch.full(shape, distribution.model.space.pad_id, device=distribution.model.allowed.device)
        drawn = distribution.redraw(empty, empty.new_zeros(BATCH), rng)
        log_q, energy = drawn.scores.sum(dim=2).unbind(dim=1)
        accepted = log_uniform(BATCH, rng).to(energy.device) < -energy - log_q  # never where the energy is NaN: p is 0
    return drawn.x[accepted].cpu(), energy[accepted].cpu()


def _read(path: Path, width: int) -> tuple[Tensor, Tensor]:
    import torch

    from samplers import StoreError
    from samplers.storage import open_to_read

    try:
        with open_to_read(path, LARGEST) as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as found:
            x, energy = found["x"], found["energy"]
        if x.ndim != 2 or x.shape != (len(energy), width) or energy.ndim != 1 or not np.isfinite(energy).all():
            raise ValueError("not of the shape of draws")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{str(path)!r} has no draws ({error}); remove it, and it is drawn again") from error
    return torch.from_numpy(x.astype(np.int64)), torch.from_numpy(energy.astype(np.float64))


def _facts(distribution: SequenceDistribution, seed: int) -> dict[str, Any]:
    """What the draws depend on."""
    from lm_adapters.loading import model_fingerprint

    model: Any = distribution.model
    scorer = model_fingerprint(model.lm.model, model.space.tokenizer)
    scorer.pop("revision", None)
    return {"length": [distribution.min_length, distribution.max_length], "seed": seed, "scorer": scorer}
