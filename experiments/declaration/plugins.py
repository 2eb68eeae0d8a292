"""What other packages bring along: experiments, energies and models, found through their entry points.

A package names them in its metadata, here in ``pyproject.toml``::

    [project.entry-points."mcmc_text.experiments"]
    haiku = "my_package.haiku:haiku"
    [project.entry-points."mcmc_text.energies"]
    rhyme = "my_package.energies:rhyme"
    [project.entry-points."mcmc_text.models"]
    tiny-fr = "my_package.models:tiny_fr"

An experiment is a function with ``@experiment`` that has the name it is registered by. An energy is a function of texts
or an ``EnergyTerm``, for ``--energy rhyme=2``. A model is a folder, or a function of ``(device, dtype)`` that returns a
``MaskedLM`` or another adapter, for ``--model tiny-fr``.
Finding them imports nothing; a package that is broken is noticed when something of it is used.
"""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

__all__ = ["OURS", "Group", "find_plugin", "load_plugin", "package_of", "packages_with", "plugin_names"]

Group = Literal["experiments", "energies", "models"]
OURS = "mcmc-text"


def plugin_names(group: Group) -> list[str]:
    return sorted(_found(group))


def packages_with(group: Group, name: str) -> list[str]:
    """The packages that register the name, each as often as it does."""
    return [package_of(entry) for entry in _found(group).get(name, [])]


def find_plugin(group: Group, name: str) -> EntryPoint | None:
    """The one of that name; one of ours before those of others, with a warning.

    Raises ``InvalidInput`` where several packages have it.
    """
    found = _found(group).get(name, [])
    ours = [each for each in found if package_of(each) == OURS]
    if len(found) < 2:
        return found[0] if found else None
    packages = [repr(package_of(each)) for each in found if each not in ours]
    if not ours:
        from samplers import InvalidInput

        raise InvalidInput(f"{name!r} is registered twice, by {' and '.join(packages)}; uninstall one of them")
    warnings.warn(f"the package {', '.join(packages)} registers {name!r}, too; that of {OURS} is used", stacklevel=2)
    return ours[0]


def load_plugin(entry: EntryPoint) -> Any:
    """What the entry point names. Raises ``InvalidInput`` with the package where that fails."""
    try:
        found = importlib.import_module(entry.module)
        for part in entry.attr.split("."):
            found = getattr(found, part)
        return found
    except Exception as error:
        from samplers import InvalidInput

        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInput(
            f"{entry.name!r} of the package {package_of(entry)!r} cannot be used ({problem}); mend or uninstall it"
        ) from error


def package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "?"


def _found(group: Group) -> dict[str, list[EntryPoint]]:
    found = defaultdict(list)
    for entry in entry_points(group=f"mcmc_text.{group}"):
        found[entry.name].append(entry)
    return found
