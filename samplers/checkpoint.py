"""What the next step needs, as named tensors and back: the state of the chains, and that of their generator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplers.errors import InvalidInput, StoreError
from samplers.records import Record, damaged
from samplers.types import ChainState

__all__ = ["pack", "unpack"]

AUX, MEMORY = "aux/", "memory/"


def pack(state: ChainState, rng: torch.Generator, memory: Mapping[str, Tensor]) -> Record:
    """``memory``: what else the run keeps. Raises ``InvalidInput`` for an ``aux`` that is no mapping of tensors."""
    tensors = {"x": state.x, "energy": state.energy, "terms": state.terms, "rng": rng.get_state()}
    empty: list[str] = []
    _flatten(AUX, state.aux, tensors, empty)
    # Counters stay on the CPU where the states are not: each aux tensor goes back to where it was.
    on_cpu = [name for name, value in tensors.items() if name.startswith(AUX) and value.device.type == "cpu"]
    tensors |= {f"{MEMORY}{name}": value for name, value in memory.items()}
    return Record(tensors, {"empty": empty, "on_cpu": on_cpu})


def unpack(
    record: Record, path: Path, start: Tensor, terms: int, rng: torch.Generator
) -> tuple[ChainState, dict[str, Tensor]]:
    """State, on the device of ``start [chains, ...]``, and memory; ``rng`` gets its state back.

    Raises ``StoreError`` where the record at ``path`` is not that of such a run.
    """
    tensors = record.tensors
    chains = len(start)
    wanted = {
        "x": (start.dtype, start.shape),
        "energy": (torch.float64, (chains,)),
        "terms": (torch.float64, (chains, terms)),
    }
    try:
        if any((tensors[name].dtype, tensors[name].shape) != like for name, like in wanted.items()):
            raise StoreError(damaged(path))
        rng.set_state(tensors["rng"])
        aux: dict[str, Any] = {}
        for name in record.facts["empty"]:
            _branch(aux, name.removeprefix(AUX).split("/"))
        for name, value in tensors.items():
            if name.startswith(AUX):
                *above, last = name.removeprefix(AUX).split("/")
                _branch(aux, above)[last] = value if name in record.facts["on_cpu"] else value.to(start.device)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise StoreError(damaged(path)) from error
    memory = {
        name.removeprefix(MEMORY): value.to(start.device) for name, value in tensors.items() if name.startswith(MEMORY)
    }
    x, energy, term_values = (tensors[name].to(start.device) for name in wanted)
    return ChainState(x, energy, aux, term_values), memory


def _flatten(prefix: str, aux: Mapping[str, Any], tensors: dict[str, Tensor], empty: list[str]) -> None:
    for name, value in aux.items():
        if isinstance(value, Tensor) and "/" not in name:
            tensors[f"{prefix}{name}"] = value
        elif isinstance(value, Mapping) and "/" not in name:
            _flatten(f"{prefix}{name}/", value, tensors, empty)
            if not value:
                empty.append(f"{prefix}{name}")
        else:
            raise InvalidInput(
                f"the kernel's aux[{name!r}] is {type(value).__name__}; a run in a folder needs tensors, or mappings "
                "of them, under names without '/'"
            )


def _branch(aux: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        aux = aux.setdefault(name, {})
    return aux
