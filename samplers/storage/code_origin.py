"""Whether a module is a library's, identified by a version, or the user's own, identified by its code alone."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import NamedTuple

__all__ = ["Library", "library_of", "module_name", "own_module_digests"]

OURS = "mcmc-text"


class Library(NamedTuple):
    """``version`` is ``None`` for Python's own library and for this one."""

    name: str
    version: str | None = None


@cache
def library_of(module: str | None) -> Library | None:
    """The library that a module belongs to, ``None`` for the user's own code.

    The user's own code is what no distribution has installed: scripts, notebooks, files loaded from a path, and
    editable installations, whose version does not change with their code.
    """
    if module is None:
        return Library("python")
    top = module.partition(".")[0]
    if top in _our_packages():
        return Library(OURS)
    path = _location(top)
    if path is None:
        return Library("python") if top in sys.stdlib_module_names else None
    for name in ("stdlib", "platstdlib"):
        root = Path(sysconfig.get_path(name)).resolve()
        if path.is_relative_to(root) and not {"site-packages", "dist-packages"} & set(path.relative_to(root).parts):
            return Library("python")
    place = path.parents[path.name.startswith("__init__.")]
    if not any(place.glob("*.dist-info")):  # nothing is installed in that folder
        return None
    for name in _distributions(top):
        found = distribution(name)
        # A checkout has no record; an editable installation lies elsewhere than its record.
        if found.read_text("RECORD") is not None and path.is_relative_to(Path(str(found.locate_file(""))).resolve()):
            return Library(name, found.version)
    return None


def module_name(module: str | None) -> str:
    """The name of a module, also of one that is run as a script."""
    if module != "__main__":
        return module or "builtins"
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec else Path(file).stem if file else "__main__"


def own_module_digests(module: str) -> dict[str, str]:
    """SHA-256 of the file of a module of the user's own and of those that it imports, by name; found without importing.

    Modules without a source file, or that cannot be found, are left out.
    """
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or library_of(name) is not None or (path := _source(name)) is None:
            continue
        data = path.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
        waiting += _imported(data, name if path.name == "__init__.py" else name.rpartition(".")[0])
    return dict(sorted(found.items()))


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Names of modules, and of what may be modules, that a file imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package or None)
            except ImportError:
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _source(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        try:
            spec = find_spec(module)
        except (ImportError, AttributeError, ValueError):
            return None
        file = spec.origin if spec and spec.has_location else None
    path = Path(file) if file else None
    return path if path and path.suffix == ".py" and path.is_file() else None


def _location(top: str) -> Path | None:
    """The file of a top-level module, or the folder of a package without one."""
    module = sys.modules.get(top)
    if module is None:
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            return None
        file = spec.origin if spec and spec.has_location else None
    else:
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
    return Path(file).resolve() if file else None


@cache
def _our_packages() -> frozenset[str]:
    """This package and those that are installed with it."""
    try:
        names = (distribution(OURS).read_text("top_level.txt") or "").split()
    except PackageNotFoundError:
        names = []
    return frozenset([__name__.partition(".")[0], *names])


def _distributions(top: str) -> list[str]:
    """Names of the distributions that a top-level module may come from; most have the name of their module."""
    try:
        distribution(top)
    except (PackageNotFoundError, ValueError):
        return sorted(set(_by_package().get(top, ())))
    return [top]


@cache
def _by_package() -> dict[str, list[str]]:
    return {name: list(found) for name, found in packages_distributions().items()}
