"""The arguments of an experiment, read from its signature: the one place that says what each of them is.

::

    def walk(job: Job, text: str, *, strength: Annotated[float, Option("Weight of the wish.", minimum=0)] = 1.0) -> Run:

Options of the command line, checks, comparison on resume and the arguments of worker processes all follow from it.
"""

from __future__ import annotations

import builtins
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal

import click

from experiments.declaration.wording import argument

__all__ = ["Argument", "Option", "read_arguments"]

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """What is known of an argument apart from its name, type and default.

    On the command line
        ``names`` of the option, by default ``--name`` (``"--on/--off"`` for a switch); ``metavar`` stands for the
        value in the help; ``type`` reads it where the argument's own type does not say how. ``formerly``: the
        argument's name in earlier versions, which is still an option, and is still read from folders.
    Bounds
        ``minimum`` and ``maximum``, for the command line and for Python.
    In the folder of a run
        ``recorded`` in ``config.json``. ``on_resume``: whether it must be the ``same``, may be ``larger``, is
        ``free``, or is ``code``, of which the contents are compared. ``from_folder``: whether a folder may decide it
        when it is resumed; never for what names code.
    In ``mcmc-text energies``
        ``energies``: the classes that the option adds to the law, by name.
    Of a model
        ``task``: what a seq2seq model must have been trained for to stand here.
    """

    help: str = ""
    names: Sequence[str] = ()
    metavar: str | None = None
    type: click.ParamType[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    formerly: str | None = None
    recorded: bool = True
    on_resume: Literal["same", "larger", "free", "code"] = "same"
    from_folder: bool = True
    energies: Sequence[str] = ()
    task: str | None = None


@dataclass(frozen=True)
class Argument:
    """One argument. ``option`` is ``None`` for one that has no place on the command line, nor in a run's folder."""

    name: str
    annotation: Any
    default: Any
    positional: bool
    option: Option | None

    @property
    def plain_type(self) -> Any:
        """Without ``None``, which says that it may be left out."""
        kinds = [kind for kind in _members(self.annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else self.annotation

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def recorded(self) -> bool:
        return self.option is not None and self.option.recorded

    @property
    def maximum(self) -> float:
        return math.inf if self.option is None or self.option.maximum is None else self.option.maximum

    @property
    def choices(self) -> tuple[str, ...]:
        return typing.get_args(self.plain_type) if typing.get_origin(self.plain_type) is Literal else ()

    @property
    def is_many(self) -> bool:
        """Whether it takes any number of values."""
        return typing.get_origin(self.plain_type) in (Sequence, list)

    @property
    def is_range(self) -> bool:
        """Whether it is two whole numbers, the smaller one first."""
        return bool(self.plain_type == tuple[int, int])

    @property
    def task(self) -> str | None:
        return self.option.task if self.option else None

    def takes(self, kind: type) -> bool:
        """Whether ``kind`` is its type, or one of those that it may have."""
        return kind in _members(self.annotation)

    def takes_named(self, kind: str) -> bool:
        """Whether a class of that name is one of the types that it may have."""
        return kind in [each.__name__ for each in _members(self.annotation) if isinstance(each, type)]

    def parameter(self) -> inspect.Parameter:
        """As ``inspect.signature`` shows it."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if self.positional else inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, kind, default=self.default, annotation=self.annotation)

    def check(self, value: Any) -> None:
        """Raise ``InvalidInput`` for a value of another type, not among the choices, or out of bounds."""
        if problem := self._problem(value):
            from samplers import InvalidInput

            raise InvalidInput(f"{argument(self.name)} is {problem}")

    def _problem(self, value: Any) -> str | None:
        if value is None and self.default is None:
            return None
        if self.choices and value not in self.choices:
            return f"{value!r}; choose one of {', '.join(map(repr, self.choices))}"
        if self.is_many and (isinstance(value, str) or not isinstance(value, Sequence)):
            return f"{value!r}; give a list"
        if self.is_range and not _is_range(value):
            return f"{value!r}; give two whole numbers, the smaller one first"
        if self.takes(int) and not (isinstance(value, Integral) and not isinstance(value, bool)):
            return f"{value!r}; give a whole number"
        if self.takes(float) and not isinstance(value, Real):
            return f"{value!r}; give a number"
        if self.option and self.option.minimum is not None and value < self.option.minimum:
            return f"{value}; give at least {self.option.minimum}"
        if self.option and self.option.maximum is not None and value > self.option.maximum:
            return f"{value}; give at most {self.option.maximum}"
        return None


def read_arguments(function: Callable[..., Any], *, skip: int = 0) -> list[Argument]:
    """Of a function, or a dataclass, but for its first ``skip``. Raises ``TypeError`` for a type that cannot be read.

    An argument without an ``Option`` has a plain one, but for the fields of a dataclass, which then have none.
    """
    space = (
        vars(sys.modules[function.__module__]) if isinstance(function, type) else inspect.unwrap(function).__globals__
    )
    found = []
    for each in list(inspect.signature(function).parameters.values())[skip:]:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise TypeError(f"argument {each.name!r} has no type; write every argument out")
        kind, option = _type_and_option(each.name, each.annotation, space)
        if option is None and not isinstance(function, type):
            option = Option()
        positional = each.kind is not each.KEYWORD_ONLY
        found.append(Argument(each.name, kind, each.default, positional, option))
    return found


def _type_and_option(name: str, annotation: Any, space: Mapping[str, Any]) -> tuple[Any, Option | None]:
    if annotation is REQUIRED:
        raise TypeError(f"argument {name!r} has no type; write one, such as {name}: str")
    if isinstance(annotation, str):
        try:
            # The text stands in the source of the function, whose module has run: nothing read from a file gets here.
            annotation = eval(annotation, dict(space), _OnlyForTypeCheckers(space))
        except Exception as error:
            raise TypeError(f"the type of argument {name!r} cannot be read ({error})") from error
    if typing.get_origin(annotation) is not Annotated:
        return annotation, None
    inner, *notes = typing.get_args(annotation)
    return inner, next((note for note in notes if isinstance(note, Option)), None)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Of a union, or the type itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


class _OnlyForTypeCheckers(dict[str, Any]):
    """Names that a module imports under ``TYPE_CHECKING``: each stands for a type of its own."""

    def __init__(self, space: Mapping[str, Any]) -> None:
        self.space = space

    def __missing__(self, name: str) -> Any:
        if name in self.space or hasattr(builtins, name):
            raise KeyError(name)
        return type(name, (), {"__module__": "builtins", "__class_getitem__": classmethod(lambda cls, _: cls)})


def _is_range(value: Any) -> bool:
    two = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(each, Integral) for each in value)
    return two and 1 <= value[0] <= value[1]
