"""The user's own energies as terms of the target: functions, ``FILE.py:NAME[=WEIGHT]``, names of plug-ins."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.declaration.plugins import find_plugin, load_plugin
from experiments.declaration.python_files import load_file
from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import EnergyTerm, WeightedSum

    EnergyFunction: TypeAlias = EnergyTerm | Callable[[Any], Any]
    GivenEnergy: TypeAlias = str | EnergyFunction | tuple[str | EnergyFunction, float] | "CustomEnergy"

__all__ = ["CustomEnergy", "load_custom_energies"]

SPEC = re.compile(r"((?P<file>.+\.py):)?(?P<name>[^\W\d][\w-]*)(=(?P<weight>.*))?")


@dataclass(frozen=True)
class CustomEnergy:
    """One of the user's own terms.

    ``spec`` is what the user wrote, ``NAME[=WEIGHT]`` for a function. ``sha256`` is the digest of the file that was
    named; ``None`` for a function, which the run's fingerprint knows by its code.
    """

    spec: str
    name: str
    weight: float
    function: Callable[[Any], Any]
    sha256: str | None = None
    is_function: bool = False

    def term(self, space: TextSpace) -> WeightedSum:
        """As a term over states: of texts, unless its argument is annotated as a tensor or it is an ``EnergyTerm``."""
        return self.weight * self._unweighted(space)

    def _unweighted(self, space: TextSpace) -> EnergyTerm:
        from lm_adapters import TextEnergy
        from samplers import EnergyTerm, named

        if isinstance(self.function, EnergyTerm):
            return self.function
        if _takes_tensor(self.function):
            return named(self.name, self.function)
        return TextEnergy(self.function, space.decode, self.name)


def load_custom_energies(given: Sequence[GivenEnergy]) -> list[CustomEnergy]:
    """Read the files named; runs their code. Raises ``InvalidInput`` with what is wrong and where."""
    from samplers import InvalidInput

    found = [_energy(each) for each in given]
    names = [energy.name for energy in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{argument('energies')} names {name!r} twice; rename one of the functions")
    return found


def _energy(given: GivenEnergy) -> CustomEnergy:
    from samplers import InvalidInput

    if isinstance(given, CustomEnergy):
        return given
    if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[1], str):
        energy = _energy(given[0])
        return replace(energy, weight=_weight(given[1], energy.name), spec=f"{energy.spec}={given[1]:g}")
    if isinstance(given, str):
        return _load(given)
    name = getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__)
    if not callable(given):
        raise InvalidInput(f"{argument('energies')} has {given!r}; give functions of a list of texts, or FILE.py:NAME")
    if not str(name).isidentifier() and not hasattr(given, "name"):
        raise InvalidInput(f"{argument('energies')} has a function without a name; write it with def")
    return CustomEnergy(str(name), str(name), 1.0, given, is_function=True)


def _load(spec: str) -> CustomEnergy:
    from samplers import InvalidInput

    what = f"{argument('energies')} {spec!r}"
    match = SPEC.fullmatch(spec)
    plugin = find_plugin("energies", match["name"]) if match and not match["file"] else None
    if not match or not (match["file"] or plugin):
        raise InvalidInput(f"{what} cannot be read; write FILE.py:NAME or FILE.py:NAME=WEIGHT")
    name, weight = match["name"], _weight(match["weight"] if match["weight"] is not None else 1.0, what)
    if plugin:
        function = load_plugin(plugin)
        if not callable(function):
            raise InvalidInput(f"{what}: {plugin.value!r} of the package is no function")
        return CustomEnergy(spec, name, weight, function, _source_digest(function))
    path = Path(match["file"])
    function = getattr(load_file(path, what), name, None)
    if not callable(function):
        raise InvalidInput(f"{what}: {str(path)!r} defines no function {name!r}")
    return CustomEnergy(spec, name, weight, function, hashlib.sha256(path.read_bytes()).hexdigest())


def _weight(given: Any, what: str) -> float:
    from samplers import InvalidInput

    try:
        weight = float(given)
    except (TypeError, ValueError):
        weight = math.nan
    if not math.isfinite(weight):
        raise InvalidInput(f"{what}: the weight {given!r} is not a finite number")
    return weight


def _source_digest(function: Any) -> str | None:
    """Of the file that defines it, if there is one."""
    try:
        path = inspect.getsourcefile(function if hasattr(function, "__code__") else type(function))
    except TypeError:
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None


def _takes_tensor(function: Callable[[Any], Any]) -> bool:
    from torch import Tensor

    try:
        hints = typing.get_type_hints(function if hasattr(function, "__code__") else type(function).__call__)
    except (NameError, TypeError):
        return False
    return next((kind is Tensor for name, kind in hints.items() if name != "return"), False)
