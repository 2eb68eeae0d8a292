"""What an object's draws depend on, as the object itself states it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from inspect import getattr_static
from typing import Any, ClassVar

from torch.distributions.utils import lazy_property

__all__ = ["Configurable", "attributes"]


class Configurable:
    """Base of the library's kernels, energies and proposals; a user's class may inherit it and does not have to.

    A run in a folder stores ``config()`` of all that it is made of, and refuses to resume with anything else. The
    default is every attribute of the instance. Attributes that change no draw (caches, counters, open files) are left
    out when the class attribute ``transient`` lists them.
    """

    transient: ClassVar[tuple[str, ...]] = ()

    def config(self) -> Mapping[str, Any]:
        """What the draws depend on, by name: numbers, texts, tensors, functions, and objects that have a config."""
        return attributes(self)


def attributes(thing: object) -> dict[str, Any]:
    """Attributes of an instance, private ones and slots included, but for cached properties and ``transient`` ones."""
    held = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        for name in _names(vars(kind).get("__slots__", ())):
            slot = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            if name not in ("__dict__", "__weakref__") and hasattr(thing, slot):
                held[slot] = getattr(thing, slot)
    transient = transient_names(type(thing))
    computed = (cached_property, lazy_property)
    return {
        name: held[name]
        for name in sorted(held)
        if name not in transient and not isinstance(getattr_static(type(thing), name, None), computed)
    }


def transient_names(kind: type) -> set[str]:
    """Names that a class and its bases list in ``transient``."""
    return {name for base in kind.__mro__ for name in _names(vars(base).get("transient", ()))}


def _names(listed: Any) -> tuple[str, ...]:
    return (listed,) if isinstance(listed, str) else tuple(listed)
