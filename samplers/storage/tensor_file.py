"""Tensors and JSON facts in one file with a checksum. Reading it cannot run code."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from samplers.errors import StoreError
from samplers.storage.atomic_files import open_to_read, write_atomically

__all__ = ["Expected", "Form", "Record", "damaged", "digest", "form_of", "load_facts", "load_record", "save_record"]

LIMIT = 2**32  # bytes of one file
LONGEST_HEADER = 2**24  # bytes
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "C64": torch.complex64, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}  # fmt: skip

Form = tuple[torch.dtype, tuple[int, ...]]
"""Type and shape of a tensor."""

Expected = Callable[[Mapping[str, Form], Mapping[str, Any]], bool]
"""Whether a file may have tensors of these forms, and these facts."""


class Record(NamedTuple):
    """``tensors`` by name, on the CPU, and ``facts``, a JSON object."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class _Head(NamedTuple):
    """What a header says: the forms of the tensors, the facts, as JSON too, and the digest of both."""

    forms: dict[str, Form]
    facts: dict[str, Any]
    text: str
    sha256: Any


def form_of(tensor: Tensor) -> Form:
    return tensor.dtype, tuple(tensor.shape)


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


def load_record(path: Path, expected: Expected | None = None) -> Record:
    """Read and check a file of ``save_record``. Raises ``StoreError`` if it is missing, truncated or changed.

    Its header is read first: where that does not describe a file of this size, or not what is ``expected``, nothing
    more is read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    with open_to_read(path, LIMIT) as file:
        start, head = _read_head(file, path)
        if expected and not expected(head.forms, head.facts):
            raise StoreError(damaged(path))
        data = start + file.read(os.fstat(file.fileno()).st_size - len(start))
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(damaged(path)) from error
    if head.sha256 != digest(tensors, head.text):
        raise StoreError(damaged(path))
    return Record(tensors, head.facts)


def load_facts(path: Path) -> dict[str, Any]:
    """The facts of a file of ``save_record``, from its header; whether its tensors are whole is not looked at."""
    with open_to_read(path, LIMIT) as file:
        return _read_head(file, path)[1].facts


def _read_head(file: BinaryIO, path: Path) -> tuple[bytes, _Head]:
    """The first bytes of the file, and what they say; the size that they say is that of the file."""
    try:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > LONGEST_HEADER:
            raise ValueError
        start += file.read(length)
        entries = json.loads(start[8:])
        header = json.loads(entries.pop("__metadata__")["mcmc-text"])
        facts = json.loads(header["facts"])
        forms = {name: _form(entry) for name, entry in entries.items()}
        size = len(start) + sum(math.prod(shape) * dtype.itemsize for dtype, shape in forms.values())
        if size != os.fstat(file.fileno()).st_size or not isinstance(facts, dict):
            raise ValueError
        return start, _Head(forms, facts, header["facts"], header["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise StoreError(damaged(path)) from error


def _form(entry: Mapping[str, Any]) -> Form:
    shape = tuple(entry["shape"])
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError
    return DTYPES[entry["dtype"]], shape


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
