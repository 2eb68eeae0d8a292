"""What a run file asks for: an experiment, values of its options, and those that it gives lists of."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from experiments.declaration.keys import keys_of
from experiments.declaration.plugins import find_plugin, load_plugin, plugin_names
from experiments.declaration.wording import argument
from experiments.entry.experiment import Experiment, experiment_of
from experiments.entry.find import experiment_in_file
from experiments.run_files.document import Document, Entry, Items, Scalar, Value

__all__ = ["EXPERIMENT", "Plan", "Swept", "experiment_of_document", "read_plan"]

EXPERIMENT = "experiment"  # the key that names it
MOST = 10_000  # runs of a sweep
LIKENESS = 0.3  # of a key that is proposed for one that is not known


@dataclass(frozen=True)
class Swept:
    """A key with several values of the parameter ``name``, and their lines."""

    key: str
    name: str
    values: Sequence[Any]
    lines: Sequence[int]


@dataclass(frozen=True)
class Plan:
    """``fixed``: values by parameter. ``swept``: the keys with lists of values. ``lines``: of each parameter."""

    document: Document
    fixed: dict[str, Any] = field(default_factory=dict)
    swept: list[Swept] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def points(self) -> Iterator[dict[str, Any]]:
        """The values of the swept parameters in each run, the last key changing fastest."""
        for values in itertools.product(*(each.values for each in self.swept)):
            yield dict(zip((each.name for each in self.swept), values, strict=True))

    @contextmanager
    def places_in_errors(self, point: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Bad input that names an option of the file is told with its line, that of its value at the ``point``."""
        from samplers import InvalidInput

        lines = dict(self.lines)
        for each in self.swept if point else ():
            lines[each.name] = each.lines[list(each.values).index((point or {})[each.name])]
        try:
            yield
        except InvalidInput as error:
            words = str(error).replace(",", " ").replace(":", " ").split()
            name = min(
                (name for name in lines if argument(name) in words),
                key=lambda name: words.index(argument(name)),
                default=None,
            )
            if name is None:
                raise
            raise self.document.bad(lines[name], str(error)) from error


def experiment_of_document(document: Document) -> tuple[Experiment, list[str]]:
    """The experiment that the file names, and the words that call it. Runs the code of a ``FILE.py``.

    Raises ``InvalidInput``, with the nearest name, where there is none.
    """
    from samplers import InvalidInput

    entry = document.entries.get(EXPERIMENT)
    if entry is None:
        raise document.bad(1, f"names no experiment; write a line such as {EXPERIMENT}: keywords")
    if not isinstance(entry.value, Scalar) or not entry.value.text:
        raise document.bad(entry.line, f"{EXPERIMENT!r} is one name; write a file for each experiment")
    name = entry.value.text
    if name.endswith(".py"):
        try:
            return experiment_in_file(name), ["run", name]
        except InvalidInput as error:
            raise document.bad(entry.line, str(error)) from error
    if name in plugin_names("experiments"):
        plugin = find_plugin("experiments", name)
        declared = experiment_of(load_plugin(plugin)) if plugin else None
        if declared is not None:
            return declared, [name]
        raise document.bad(entry.line, f"{name!r} is a command and no experiment; a run file names an experiment")
    raise document.bad(
        entry.line, f"there is no experiment {name!r}{_nearest(name, plugin_names('experiments'))}, or give a FILE.py"
    )


def read_plan(document: Document, declared: Experiment, command: click.Command) -> Plan:
    """The values of the file as the options of ``command`` read them.

    Raises ``InvalidInput`` with file and line for a key that the experiment has not, with the nearest that it has, and
    for a value that its option would not take.
    """
    known, plan, context = keys_of(declared.arguments, command), Plan(document), click.Context(command)
    for key, entry in document.entries.items():
        if key == EXPERIMENT:
            continue
        if key not in known:
            problem = f"{declared.name!r} has no option {key!r}{_nearest(key, [EXPERIMENT, *known])}"
            raise document.bad(entry.line, problem)
        parameter, off = known[key]
        name = str(parameter.name)
        if name in plan.lines:
            raise document.bad(entry.line, f"{key!r} says what line {plan.lines[name]} says; leave one of the two out")
        plan.lines[name] = entry.line
        values, lines = _values(document, key, entry, parameter, off, context)
        if not isinstance(entry.value, Items) or (_takes_many(parameter) and not _is_of_lists(entry.value)):
            if values[0] is not None:
                plan.fixed[name] = values[0]
            continue
        if name == "out":
            raise document.bad(entry.line, f"{key!r} is one folder, in which a sweep makes one for each run")
        plan.swept.append(Swept(key, name, values, lines))
    count = 1
    for each in plan.swept:
        count *= len(each.values)
        if count > MOST:
            raise document.bad(plan.lines[each.name], f"the lists make more than {MOST:,} runs; give fewer values")
    return plan


def _values(
    document: Document, key: str, entry: Entry, parameter: click.Parameter, off: bool, context: click.Context
) -> tuple[list[Any], list[int]]:
    """One value, or those of a list, read by the option; and the line of each."""
    many = _takes_many(parameter)
    is_list = isinstance(entry.value, Items) and (not many or _is_of_lists(entry.value))
    given: Sequence[Value] = entry.value.values if is_list and isinstance(entry.value, Items) else [entry.value]
    if not given:
        raise document.bad(entry.line, f"{key!r} is an empty list; give a value")
    read: list[Any] = []
    for value in given:
        try:
            found = _read(value, parameter, off, context)
        except click.BadParameter as error:
            raise document.bad(value.line, f"{key}: {error.message}") from error
        if is_list and (found is None or found in read):
            problem = "has no value" if found is None else f"is in the list twice: {found!r}"
            raise document.bad(value.line, f"{key}: {problem}; leave it out")
        read.append(found)
    return read, [value.line for value in given]


def _read(value: Value, parameter: click.Parameter, off: bool, context: click.Context) -> Any:
    """``None`` for a value that is left empty. Raises ``click.BadParameter``."""
    many = _takes_many(parameter)
    if isinstance(value, Items):
        if not many or any(isinstance(each, Items) for each in value.values):
            raise click.BadParameter("a list where one value is wanted")
        texts = [_text(each) for each in value.values]
        return list(parameter.type_cast_value(context, texts))
    if value.text is None:
        return None
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return click.BOOL.convert(_text(value), parameter, context) != off
    return parameter.type_cast_value(context, [_text(value)] if many else _text(value))


def _text(value: Value) -> str:
    if not isinstance(value, Scalar) or value.text is None:
        raise click.BadParameter("it has no value")
    if "\0" in value.text:
        raise click.BadParameter(f"{value.text!r} is no text")
    try:
        value.text.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value.text!r} is no text") from error
    return value.text


def _takes_many(parameter: click.Parameter) -> bool:
    return parameter.multiple or parameter.nargs == -1


def _is_of_lists(value: Value) -> bool:
    return isinstance(value, Items) and any(isinstance(each, Items) for each in value.values)


def _nearest(name: str, known: Iterable[str]) -> str:
    plain = name.strip("-").replace("_", "-").lower()
    near = difflib.get_close_matches(plain, list(known), 1, LIKENESS)
    return f"; did you mean {near[0]!r}?" if near else ""
