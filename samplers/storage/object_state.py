"""The state of an object that does not describe itself."""

from __future__ import annotations

import copyreg
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from samplers.config import attributes
from samplers.storage.code_origin import library_of

__all__ = ["HiddenState", "network_attributes", "object_state"]

# They hold a position in a stream, which a resumed run would read from its start.
STREAMS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__")
OF_EVERY_NETWORK = frozenset(vars(torch.nn.Module()))


class HiddenState(Exception):
    """The object has a state that Python cannot read, or one that changes as it is used."""


def object_state(thing: Any) -> Mapping[str, Any]:
    """Its attributes, or what a library's class that has its own way to be pickled gives. Raises ``HiddenState``."""
    kind = type(thing)
    if hasattr(kind, "__next__") or isinstance(thing, STREAMS):
        raise HiddenState
    registered = kind in copyreg.dispatch_table
    try:
        reduced = copyreg.dispatch_table[kind](thing) if registered else thing.__reduce_ex__(2)
    except Exception as error:
        raise HiddenState from error
    by_default = not registered and all(getattr(kind, hook) is getattr(object, hook) for hook in HOOKS)
    if by_default or library_of(kind.__module__) is None:
        return attributes(thing)
    if isinstance(reduced, str):
        return {"name": reduced}
    names = ("made by", "arguments", "state", "items", "entries")
    parts = {name: part for name, part in zip(names, reduced, strict=False) if part is not None}
    return parts | {name: list(parts[name]) for name in ("items", "entries") if name in parts}


def network_attributes(network: torch.nn.Module) -> dict[str, Any]:
    """What a PyTorch module keeps besides its parameters, buffers and parts."""
    return {name: value for name, value in attributes(network).items() if name not in OF_EVERY_NETWORK}
