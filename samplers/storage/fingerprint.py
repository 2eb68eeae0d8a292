"""What an object was made of, as plain JSON: two kernels that are described alike make the same draws."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from functools import cached_property, partial
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplers.storage.tensor_file import digest

__all__ = ["describe"]

NUMBERS = "biuf"  # kinds of numpy arrays
HOUSE = ("samplers", "lm_adapters", "experiments")


def describe(thing: Any) -> Any:
    """Classes by name with what they hold, nested; tensors by digest; functions by name; other people's by class.

    Of a class of ours every public attribute counts but those it names in ``transient`` and its cached properties; of a
    user's kernel, proposal or energy those that are parameters of its constructor.
    """
    return _described(thing, ())


def _described(thing: Any, above: tuple[int, ...]) -> Any:
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if id(thing) in above:  # an object that holds its owner
        return type(thing).__name__
    above = (*above, id(thing))
    if isinstance(thing, Tensor):
        return digest({"": thing})
    if isinstance(thing, np.generic):
        return _described(thing.item(), above)
    if isinstance(thing, np.ndarray) and thing.dtype.kind in NUMBERS:
        return digest({"": torch.from_numpy(thing)})
    if isinstance(thing, torch.dtype | torch.device | complex | Enum):
        return str(thing)
    if isinstance(thing, partial):
        return {"class": "partial", **_described({n: getattr(thing, n) for n in ("func", "args", "keywords")}, above)}
    if isinstance(thing, Mapping):
        return {str(key): _described(value, above) for key, value in thing.items()}
    if isinstance(thing, Set):
        return sorted((_described(item, above) for item in thing), key=repr)
    if isinstance(thing, list | tuple):
        return [_described(item, above) for item in thing]
    if not hasattr(thing, "__dict__") or isinstance(thing, type) or hasattr(thing, "__code__"):
        return getattr(thing, "__qualname__", type(thing).__name__)
    held = {name: _described(vars(thing)[name], above) for name in sorted(_counting(thing))}
    return {"class": type(thing).__qualname__, **held}


def _counting(thing: Any) -> set[str]:
    """Names of the attributes that make a difference."""
    cached = {name for name in vars(thing) if isinstance(getattr(type(thing), name, None), cached_property)}
    public = {name for name in vars(thing) if not name.startswith("_")} - cached
    if type(thing).__module__.partition(".")[0] in HOUSE:
        return public - set(getattr(thing, "transient", ()))
    if any(hasattr(thing, method) for method in ("step", "log_prob", "values")) and not hasattr(thing, "parameters"):
        return public & set(signature(type(thing)).parameters)
    return set()
