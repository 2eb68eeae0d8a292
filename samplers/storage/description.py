"""Descriptions of objects as plain JSON, equal for two objects only if they make the same draws."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from enum import Enum
from functools import partial
from inspect import getattr_static, isroutine
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplers.config import Configurable, attributes
from samplers.errors import InvalidInput
from samplers.storage.code_origin import library_of, module_name, own_module_digests
from samplers.storage.code_parts import class_members, function_parts
from samplers.storage.object_state import HiddenState, network_attributes, object_state
from samplers.storage.tensor_file import digest

__all__ = ["describe", "describe_all"]

# What is larger is replaced by a digest.
MOST = 64  # entries of a container
LONGEST = 1000  # characters of a text
LARGEST = 2**16  # characters of the description of an object
DEEPEST = 50  # objects inside objects
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
SCALARS = (bool, int, float, str)
WRITTEN = (torch.dtype, torch.device, torch.layout, complex, PurePath)
REMEDY = "a method config() that returns what its draws depend on"


def describe(thing: Any, name: str = "it") -> Any:
    """A description of ``thing`` as plain JSON, equal for two things only if they make the same draws.

    Objects by class and ``config()``, nested; tensors, arrays, long texts and containers by digest; functions and
    classes of libraries by name, the user's own by a digest of their code, its constants and the values that it uses.
    The same in every process.

    Raises ``InvalidInput`` for what cannot be described (an open file, a lock, a generator); the message names it as a
    part of ``name``.
    """
    return _Describer().whole(thing, name)


def describe_all(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Each of ``facts`` described, and ``libraries``: versions of those that the descriptions name."""
    describer = _Describer()
    described = {name: describer.whole(fact, name) for name, fact in facts.items()}
    python = ".".join(platform.python_version_tuple()[:2])  # which decides how code is compiled
    return {**described, "libraries": {"python": python, **dict(sorted(describer.libraries.items()))}}


class _CannotDescribe(Exception):
    def __init__(self, thing: Any, where: str) -> None:
        self.kind, self.where = type(thing).__name__, where


class _Describer:
    """``where`` is the dotted name of what is described, as differences between two descriptions name it."""

    def __init__(self) -> None:
        self.libraries: dict[str, str] = {}
        self._above: list[int] = []
        self._known: dict[int, tuple[Any, Any]] = {}  # the thing is held so that its id is not reused
        self._lenient = False

    def whole(self, thing: Any, name: str) -> Any:
        try:
            return self._describe(thing, name)
        except _CannotDescribe as error:
            raise InvalidInput(
                f"{error.where} is a {error.kind}, which cannot be compared when the run resumes; put it into a class "
                f"with {REMEDY}"
            ) from error

    def _describe(self, thing: Any, where: str) -> Any:
        if thing is None or (isinstance(thing, SCALARS) and not isinstance(thing, Enum)):
            return thing if not isinstance(thing, str) or len(thing) <= LONGEST else _text_digest(thing)
        if id(thing) in self._above:  # an object that holds its owner, a function that calls itself
            return getattr(thing, "__qualname__", type(thing).__name__)
        if id(thing) in self._known:
            return self._known[id(thing)][1]
        if len(self._above) == DEEPEST:
            raise _CannotDescribe(thing, where)
        self._above.append(id(thing))
        try:
            found = self._dispatch(thing, where)
        finally:
            self._above.pop()
        self._known[id(thing)] = thing, found
        return found

    def _dispatch(self, thing: Any, where: str) -> Any:
        kind = type(thing)
        if isinstance(thing, Tensor):
            return self._tensors({"": thing}, thing, where)
        if isinstance(thing, np.ndarray | np.generic):
            return self._array(thing, where)
        if isinstance(thing, bytes | bytearray):
            return {"bytes": hashlib.sha256(thing).hexdigest()}
        if isinstance(thing, Enum):
            name = self._named(kind.__module__, f"{kind.__qualname__}.{thing.name}")
            return [name, self._describe(thing.value, where)]
        if isinstance(thing, WRITTEN):
            return str(thing)
        if isinstance(thing, partial):
            parts = {"function": thing.func, "arguments": thing.args, "keywords": thing.keywords}
            return {"class": "functools:partial", **self._parts(parts, where)}
        if isinstance(thing, type):
            return self._class(thing, where)
        if isinstance(thing, FunctionType):
            return self._function(thing, where)
        if isinstance(thing, MethodType):
            method = self._describe(thing.__func__, f"{where}.method")
            return {"method": method, "of": self._describe(thing.__self__, f"{where}.of")}
        if callable(thing) and isinstance(getattr(thing, "__wrapped__", None), FunctionType):  # by functools.cache
            return self._parts({"class": kind, "wrapped": thing.__wrapped__}, where)
        if isroutine(thing):
            return self._routine(thing, where)
        if isinstance(thing, ModuleType):
            return self._module(thing.__name__)
        if isinstance(thing, torch.nn.Module) and not _states_its_config(kind):
            return self._network(thing, where)
        if isinstance(thing, Mapping | Set | list | tuple):
            return self._container(thing, where)
        return self._object(thing, where)

    def _object(self, thing: Any, where: str) -> Any:
        kind = type(thing)
        if callable(getattr_static(kind, "config", None)):
            held = thing.config()
            if not isinstance(held, Mapping):
                raise InvalidInput(
                    f"{where}.config() returned {type(held).__name__}; return a mapping of names to values"
                )
        else:
            try:
                held = object_state(thing)
            except HiddenState as error:
                raise _CannotDescribe(thing, where) from error
        facts = self._held(kind, held, where)
        text = json.dumps(facts)
        return facts if len(text) <= LARGEST else {"class": facts["class"], "sha256": _text_digest(text)}

    def _held(self, kind: type, held: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The class, and what an object of it holds."""
        facts = {"class": self._describe(kind, f"{where}.class")}
        own = library_of(kind.__module__) is None
        for name, value in held.items():
            with self._owned(own, f"{where} (a {kind.__qualname__})", "its attribute", str(name), kind):
                key = str(name) if name != "class" else "config.class"
                facts[key] = self._describe(value, f"{where}.{key}")
        return facts

    def _container(self, thing: Any, where: str) -> Any:
        content: Any
        if isinstance(thing, Mapping) and all(isinstance(key, str) for key in thing):
            content = self._parts(thing, where)
        elif isinstance(thing, Mapping):
            pairs = ([self._describe(key, where), self._describe(thing[key], f"{where}[{key!r}]")] for key in thing)
            content = sorted(pairs, key=json.dumps)
        elif isinstance(thing, Set):
            content = sorted((self._describe(item, where) for item in thing), key=json.dumps)
        else:
            content = [self._describe(item, f"{where}[{index}]") for index, item in enumerate(thing)]
        if len(content) > MOST:
            content = {"entries": len(content), "sha256": _text_digest(json.dumps(content, sort_keys=True))}
        if library_of(type(thing).__module__) is not None:
            return content
        return {**self._held(type(thing), attributes(thing), where), "content": content}

    def _function(self, function: FunctionType, where: str) -> Any:
        module = function.__globals__.get("__name__", "")
        name = f"{module_name(module)}:{function.__qualname__}"
        if library_of(module) is not None:
            name = self._named(module, function.__qualname__)
            if isinstance(wrapped := getattr(function, "__wrapped__", None), FunctionType | MethodType):
                return {"function": name, "wrapped": self._describe(wrapped, f"{where}.wrapped")}
            closure = function_parts(function).closure
            return {"function": name, "closure": self._parts(closure, f"{where}.closure")} if closure else name
        parts = function_parts(function)
        facts: dict[str, Any] = {"function": name, "code": parts.code, "constants": parts.constants}
        own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        used = {"defaults": parts.defaults, "closure": parts.closure, "globals": parts.globals, "attributes": own}
        for group, values in used.items():
            for name, value in sorted(values.items()):
                with self._owned(True, f"{where} (the function {function.__qualname__!r})", "what it calls", name):
                    facts.setdefault(group, {})[name] = self._describe(value, f"{where}.{group}.{name}")
        if parts.modules:
            facts["modules"] = {module: self._module(module) for module in parts.modules}
        return facts

    def _routine(self, thing: Any, where: str) -> Any:
        """A function that is not written in Python."""
        owner = getattr(thing, "__self__", None)
        name = self._named(getattr(thing, "__module__", None), getattr(thing, "__qualname__", type(thing).__name__))
        if owner is None or isinstance(owner, ModuleType | type):
            return name
        return {"method": name, "of": self._describe(owner, f"{where}.of")}

    def _class(self, kind: type, where: str) -> Any:
        if library_of(kind.__module__) is not None:
            return self._named(kind.__module__, kind.__qualname__)
        facts: dict[str, Any] = {"name": f"{module_name(kind.__module__)}:{kind.__qualname__}"}
        with self._leniently(_states_its_config(kind)):
            for name, value in class_members(kind).items():
                with self._owned(True, f"{where} (the class {kind.__qualname__})", "its attribute", name, kind):
                    facts.setdefault("members", {})[name] = self._describe(value, f"{where}.members.{name}")
            bases = [self._describe(base, where) for base in kind.__bases__ if library_of(base.__module__) is None]
        if bases:
            facts["bases"] = bases
        return facts

    def _module(self, name: str) -> Any:
        if (library := library_of(name)) is None:
            return {"module": name, "files": own_module_digests(name)}
        self._note(library)
        return name

    def _network(self, network: torch.nn.Module, where: str) -> Any:
        """A PyTorch module: its structure, its numbers, and what classes of the user's own keep besides."""
        tensors = dict(network.named_parameters()) | dict(network.named_buffers())
        facts = {
            "class": self._describe(type(network), f"{where}.class"),
            "structure": _text_digest(ADDRESS.sub("", repr(network))),
            "sha256": self._tensors(tensors, network, where),
            "training": [part.training for part in network.modules()].count(True),
        }
        for path, part in network.named_modules():
            if library_of(type(part).__module__) is None:
                inside = f"{where}.{path}" if path else where
                facts[path or "attributes"] = self._held(type(part), network_attributes(part), inside)
        return facts

    def _tensors(self, tensors: Mapping[str, Tensor], thing: Any, where: str) -> str:
        try:
            return digest(tensors)
        except Exception as error:  # sparse, or without data
            raise _CannotDescribe(thing, where) from error

    def _array(self, thing: Any, where: str) -> Any:
        if thing.dtype.hasobject:
            return self._describe(thing.tolist(), where)
        if isinstance(thing, np.generic) and isinstance(value := thing.item(), SCALARS):
            return value
        head = f"{thing.dtype.str} {list(thing.shape)}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(thing).tobytes()).hexdigest()

    def _parts(self, parts: Mapping[str, Any], where: str) -> dict[str, Any]:
        return {name: self._describe(parts[name], f"{where}.{name}") for name in sorted(parts)}

    def _named(self, module: str | None, name: str) -> str:
        """Something of a library's, or of the user's own, by name."""
        if (library := library_of(module)) is not None:
            self._note(library)
        return f"{module_name(module)}:{name}"

    def _note(self, library: Any) -> None:
        if library.version is not None:
            self.libraries[library.name] = library.version

    @contextmanager
    def _owned(self, own: bool, owner: str, relation: str, name: str, kind: type | None = None) -> Iterator[None]:
        """Report what cannot be described as a part of the nearest object or function that is the user's own."""
        try:
            yield
        except _CannotDescribe as error:
            if not own:
                raise
            if self._lenient:
                return
            remedy = (
                f"write {REMEDY}, or list {name!r} in the class attribute transient"
                if kind
                else f"put it into a class with {REMEDY}"
            )
            raise InvalidInput(
                f"{owner} cannot be compared when the run resumes: {relation} {name!r} is a {error.kind}; {remedy}"
            ) from error

    @contextmanager
    def _leniently(self, lenient: bool) -> Iterator[None]:
        before, self._lenient = self._lenient, self._lenient or lenient
        try:
            yield
        finally:
            self._lenient = before


def _states_its_config(kind: type) -> bool:
    """Whether a class of the user's own has a ``config`` that is not the default one."""
    definer = next((base for base in kind.__mro__ if "config" in vars(base)), Configurable)
    return library_of(definer.__module__) is None


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
