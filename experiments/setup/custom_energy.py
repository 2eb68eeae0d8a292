"""The user's own energies as terms of the target: functions, ``FILE.py:NAME[=WEIGHT]``, ``MODULE:NAME``, plug-ins."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.declaration.plugins import find_plugin, load_plugin
from experiments.declaration.python_files import load_file, load_module
from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import EnergyTerm, WeightedSum

    EnergyFunction: TypeAlias = EnergyTerm | Callable[[Any], Any]
    GivenEnergy: TypeAlias = str | EnergyFunction | tuple[str | EnergyFunction, float] | "CustomEnergy"

__all__ = ["CustomEnergy", "load_custom_energies"]

MODULE = r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*)"
SPEC = re.compile(rf"(((?P<file>.+\.py)|{MODULE}):)?(?P<name>[^\W\d][\w-]*)(=(?P<weight>.*))?")
USAGE = "an energy gets a list of texts and returns one number for each"


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
        """As a term over states, which is ``Watched``.

        It gets texts, unless its argument is annotated as a tensor or it is an ``EnergyTerm``.
        """
        from samplers import Watched, WeightedSum

        plain = self.weight * self._unweighted(space)
        return WeightedSum([(weight, Watched(part)) for weight, part in plain.parts])

    @property
    def takes_states(self) -> bool:
        """Whether it gets tokens, and not texts."""
        from samplers import EnergyTerm

        return isinstance(self.function, EnergyTerm) or _takes_tensor(self.function)

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

    modules: dict[str, ModuleType] = {}
    found = [_energy(each, modules) for each in given]
    names = [energy.name for energy in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{argument('energies')} names {name!r} twice; rename one of the functions")
    return found


def _energy(given: GivenEnergy, modules: dict[str, ModuleType]) -> CustomEnergy:
    """``modules``: the files and modules read so far, so that none is run twice."""
    from samplers import InvalidInput

    if isinstance(given, CustomEnergy):
        return given
    if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[1], str):
        energy = _energy(given[0], modules)
        return replace(energy, weight=_weight(given[1], energy.name), spec=f"{energy.spec}={given[1]:g}")
    if isinstance(given, str):
        return _load(given, modules)
    if not callable(given):
        raise InvalidInput(f"{argument('energies')} has {given!r}; give functions of a list of texts, or FILE.py:NAME")
    name = getattr(given, "name", None) or _name_of(given)
    _check_call(given, f"{argument('energies')} has {name!r}, which")
    if not str(name).isidentifier() and not hasattr(given, "name"):
        raise InvalidInput(f"{argument('energies')} has a function without a name; write it with def")
    return CustomEnergy(str(name), str(name), 1.0, given, is_function=True)


def _load(spec: str, modules: dict[str, ModuleType]) -> CustomEnergy:
    from samplers import InvalidInput

    what = f"{argument('energies')} {spec!r}"
    match = SPEC.fullmatch(spec)
    from_code = match and (match["file"] or match["module"])
    plugin = find_plugin("energies", match["name"]) if match and not from_code else None
    if not match or not (from_code or plugin):
        raise InvalidInput(f"{what} cannot be read; write FILE.py:NAME, MODULE:NAME or FILE.py:NAME=WEIGHT")
    name, weight = match["name"], _weight(match["weight"] if match["weight"] is not None else 1.0, what)
    if plugin:
        function = load_plugin(plugin)
        if not callable(function):
            raise InvalidInput(f"{what}: {plugin.value!r} of the package is no function")
        digest = _source_digest(function)
    else:
        place = str(from_code)
        if place not in modules:
            modules[place] = load_file(Path(place), what) if match["file"] else load_module(place, what)
        function = getattr(modules[place], name, None)
        if not callable(function):
            raise InvalidInput(f"{what}: {place!r} defines no function {name!r}")
        file = modules[place].__file__
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    _check_call(function, f"{what}: {name!r}")
    return CustomEnergy(spec, name, weight, function, digest)


def _check_call(function: Any, what: str) -> None:
    """Raise ``InvalidInput``, after ``what``, for what cannot be called with a list of texts."""
    from samplers import InvalidInput

    if isinstance(function, type):
        raise InvalidInput(f"{what} is a class; give an instance of it, as in wish = {function.__name__}(...)")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python
        return
    try:
        signature.bind([])
    except TypeError as error:
        given = "the others need defaults or functools.partial" if signature.parameters else "it takes none"
        raise InvalidInput(f"{what} cannot be called with one argument ({error}); {USAGE}; {given}") from error


def _name_of(function: Any) -> str:
    while isinstance(function, partial) and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


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
    """Whether its first argument is annotated as a tensor. One that cannot be understood is no annotation."""
    from torch import Tensor

    try:
        first = next(iter(inspect.signature(function).parameters.values()))
    except (StopIteration, TypeError, ValueError):
        return False
    if not isinstance(first.annotation, str):
        return first.annotation is Tensor
    while isinstance(function, partial):
        function = function.func
    written = SimpleNamespace(__annotations__={"x": first.annotation})
    call = inspect.unwrap(function) if hasattr(function, "__globals__") else type(function).__call__
    names = getattr(call, "__globals__", {})
    try:
        return typing.get_type_hints(written, globalns=names)["x"] is Tensor
    except Exception:  # it is evaluated, and so may raise anything
        return first.annotation in ("Tensor", "torch.Tensor")  # imported for type checkers only
