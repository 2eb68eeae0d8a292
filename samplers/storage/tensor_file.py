"""Tensors and JSON facts in one file with a checksum. Reading it cannot run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.errors import StoreError
from samplers.storage.atomic_files import read_bounded, write_atomically

__all__ = ["Record", "digest", "load_record", "save_record"]

LIMIT = 2**32  # bytes of one file


class Record(NamedTuple):
    """``tensors`` by name, on the CPU, and ``facts``, a JSON object."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_record(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a safetensors file, atomically, with a SHA-256 of its contents. Equal contents give equal bytes."""
    from safetensors.torch import save

    # Copies, as the format refuses tensors that share memory (the energy and its only term do).
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    text = json.dumps(facts, sort_keys=True)
    # One entry of metadata, as the format does not fix the order of several.
    header = json.dumps({"facts": text, "sha256": digest(plain, text)})
    data = save(plain, metadata={"mcmc-text": header})
    if len(data) > LIMIT:
        raise StoreError(f"{str(path)!r} would be larger than {LIMIT:,} bytes; commit more often")
    write_atomically(path, data)


def load_record(path: Path) -> Record:
    """Read and check a file of ``save_record``. Raises ``StoreError`` if it is missing, truncated or changed."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bounded(path, LIMIT)
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["mcmc-text"])
        facts = json.loads(header["facts"])
        whole = header["sha256"] == digest(tensors, header["facts"]) and isinstance(facts, dict)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(damaged(path)) from error
    if not whole:
        raise StoreError(damaged(path))
    return Record(tensors, facts)


def damaged(path: Path) -> str:
    """The message for a file whose contents are not what was written."""
    return f"{str(path)!r} is damaged: its contents are not what was written; restore it from a copy, or start again"


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Hexadecimal SHA-256 of the names, types, shapes and bytes of tensors, and of a text."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
