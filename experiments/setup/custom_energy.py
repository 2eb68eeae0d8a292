"""``--energy FILE.py:NAME[=WEIGHT]``: the user's own function as a term of the target."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import EnergyTerm, WeightedSum

__all__ = ["CustomEnergy", "load_custom_energies"]

SPEC = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)(=(?P<weight>.*))?")


@dataclass(frozen=True)
class CustomEnergy:
    """A callable read from a file. ``spec`` is what the user wrote, ``sha256`` the digest of the file."""

    spec: str
    name: str
    weight: float
    function: Callable[[Any], Any]
    sha256: str | None = None

    def term(self, space: TextSpace) -> WeightedSum:
        """As a term over states: of texts, unless its argument is annotated as a tensor or it is an ``EnergyTerm``."""
        return self.weight * self._unweighted(space)

    def _unweighted(self, space: TextSpace) -> EnergyTerm:
        from samplers import EnergyTerm, named

        if isinstance(self.function, EnergyTerm):
            return self.function
        if _takes_tensor(self.function):
            return named(self.name, self.function)
        return space.energy(self.function, self.name)


def load_custom_energies(specs: Sequence[str | CustomEnergy]) -> list[CustomEnergy]:
    """Read the files named; runs their code. Raises ``InvalidInput`` with what is wrong and where."""
    from samplers import InvalidInput

    found = [spec if isinstance(spec, CustomEnergy) else _load(spec) for spec in specs]
    names = [energy.name for energy in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"--energy names {name!r} twice; rename one of the functions")
    return found


def _load(spec: str) -> CustomEnergy:
    from samplers import InvalidInput

    match = SPEC.fullmatch(spec)
    if not match:
        raise InvalidInput(f"--energy {spec!r} cannot be read; write FILE.py:NAME or FILE.py:NAME=WEIGHT")
    path, name = Path(match["file"]), match["name"]
    if not path.is_file():
        raise InvalidInput(f"--energy {spec!r}: there is no file {str(path)!r}")
    try:
        weight = float(match["weight"]) if match["weight"] is not None else 1.0
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise InvalidInput(f"--energy {spec!r}: the weight {match['weight']!r} is not a finite number")
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"--energy {spec!r}: {str(path)!r} cannot be read ({error.strerror})") from error
    function = getattr(_module(path, spec), name, None)
    if not callable(function):
        raise InvalidInput(f"--energy {spec!r}: {str(path)!r} defines no function {name!r}")
    return CustomEnergy(spec, name, weight, function, sha256)


def _module(path: Path, spec: str) -> Any:
    from samplers import InvalidInput

    module_spec = importlib.util.spec_from_file_location(f"custom_energy_{path.stem}", path)
    assert module_spec is not None, "a path that ends in .py has a loader"
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"--energy {spec!r}: {str(path)!r} raised {type(error).__name__}: {error}") from error
    return module


def _takes_tensor(function: Callable[[Any], Any]) -> bool:
    from torch import Tensor

    try:
        hints = typing.get_type_hints(function if hasattr(function, "__code__") else type(function).__call__)
    except (NameError, TypeError):
        return False
    return next((kind is Tensor for name, kind in hints.items() if name != "return"), False)
