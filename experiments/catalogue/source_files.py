"""The source files of packages and modules, found as Python finds them, and not imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

__all__ = ["source_of", "sources_in"]


def source_of(module: str) -> Path | None:
    """The file of the module of that dotted name; ``None`` where there is none, or it is no Python."""
    spec = _spec(module)
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.suffix == ".py" and path.is_file() else None


def sources_in(package: str) -> Iterator[tuple[str, Path]]:
    """Every module of the package, and of the packages in it, with its file."""
    door = source_of(package)
    for path in sorted(door.parent.rglob("*.py")) if door else ():
        parts = path.relative_to(door.parent).with_suffix("").parts if door else ()
        yield ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)]), path


def _spec(module: str) -> ModuleSpec | None:
    """As ``importlib.util.find_spec``, which would import the packages that the module is in."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for depth, _ in enumerate(rest, 2):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = PathFinder.find_spec(".".join(module.split(".")[:depth]), list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None
    return spec
