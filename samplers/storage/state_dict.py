"""The state of chains and of their generator as named tensors, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplers.errors import InvalidInput, StoreError
from samplers.storage.tensor_file import Form, Record, damaged, form_of
from samplers.types import ChainState

__all__ = ["forms", "memory_name", "pack", "unpack"]

AUX, MEMORY, RNG = "aux/", "memory/", "rng"


def memory_name(name: str) -> str:
    """The name of a tensor of the memory in a commit."""
    return f"{MEMORY}{name}"


def pack(
    state: ChainState, rng: torch.Generator, memory: Mapping[str, Tensor], template: ChainState
) -> dict[str, Tensor]:
    """Everything that the next step needs. ``memory``: what the run keeps besides. ``template``: an earlier state.

    Raises ``InvalidInput`` for an ``aux`` that is not a mapping of tensors, or that has changed names, types or shapes.
    """
    tensors = _flat(state, memory)
    before = _flat(template, memory)
    changed = [name for name in before.keys() | tensors.keys() if _form(tensors, name) != _form(before, name)]
    if changed:
        name = min(changed)
        raise InvalidInput(
            f"the kernel's {name} was {_form(before, name)} and is now {_form(tensors, name)}; a run in a folder needs "
            "an aux that keeps its names, types and shapes"
        )
    return tensors | {RNG: rng.get_state()}


def forms(template: ChainState, memory: Mapping[str, Tensor], rng: torch.Generator) -> dict[str, Form]:
    """Types and shapes of what ``pack`` gives."""
    tensors = _flat(template, memory) | {RNG: rng.get_state()}
    return {name: form_of(tensor) for name, tensor in tensors.items()}


def unpack(
    record: Record, path: Path, template: ChainState, memory: Mapping[str, Tensor], rng: torch.Generator
) -> tuple[ChainState, dict[str, Tensor]]:
    """State and memory of the record at ``path``; the state of ``rng`` is restored.

    ``template`` and ``memory`` are of the same run: each tensor must have the type and shape that it has there, and
    goes to the same device. Raises ``StoreError`` for a record that has others.
    """
    wanted = _flat(template, memory)
    tensors = dict(record.tensors)
    try:
        rng.set_state(tensors.pop(RNG))
    except (KeyError, TypeError, RuntimeError) as error:
        raise StoreError(damaged(path)) from error
    if tensors.keys() != wanted.keys() or any(_form(tensors, name) != _form(wanted, name) for name in wanted):
        raise StoreError(damaged(path))
    kept = [tensors["energy"], tensors["terms"], *(tensors[memory_name(name)] for name in memory)]
    if any(bool((value.isnan() | (value == -math.inf)).any()) for value in kept):
        raise StoreError(damaged(path))
    tensors = {name: value.to(wanted[name].device) for name, value in tensors.items()}
    state = ChainState(tensors["x"], tensors["energy"], _nested(AUX, template.aux, tensors), tensors["terms"])
    return state, {name: tensors[memory_name(name)] for name in memory}


def _flat(state: ChainState, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {"x": state.x, "energy": state.energy, "terms": state.terms}
    tensors |= {memory_name(name): value for name, value in memory.items()}
    _flatten(AUX, state.aux, tensors)
    return tensors


def _flatten(prefix: str, aux: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    for name, value in aux.items():
        if isinstance(value, Tensor) and "/" not in name:
            tensors[f"{prefix}{name}"] = value
        elif isinstance(value, Mapping) and "/" not in name:
            _flatten(f"{prefix}{name}/", value, tensors)
        else:
            raise InvalidInput(
                f"the kernel's aux[{name!r}] is {type(value).__name__}; a run in a folder needs tensors, or mappings "
                "of them, under names without '/'"
            )


def _nested(prefix: str, template: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ``tensors`` whose names start with ``prefix``, nested as in ``template``."""
    return {
        name: _nested(f"{prefix}{name}/", value, tensors) if isinstance(value, Mapping) else tensors[f"{prefix}{name}"]
        for name, value in template.items()
    }


def _form(tensors: Mapping[str, Tensor], name: str) -> str:
    """Type and shape of a tensor, for messages."""
    tensor = tensors.get(name)
    return "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
