"""The form of an experiment, and the words of the command line that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from experiments.declaration.arguments import Argument, Option
from experiments.declaration.keys import key_of
from experiments.declaration.options import click_parameter
from experiments.entry.experiment import Experiment

__all__ = ["Field", "fields_of", "words_of"]

USUAL = ("sampler", "length", "chains", "steps", "temperature", "seed")  # options that most people look for
OFFERED = ("lang",)  # though a run goes on without it
QUOTED = re.compile(r'"([^"]*)"|(\S+)')  # a phrase in quotes, or a word
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Field:
    """An argument of an experiment: a line of text, or one of ``choices``; ``""`` is always "not given"."""

    argument: Argument
    parameter: click.Parameter
    choices: tuple[str, ...]

    @property
    def label(self) -> str:
        return key_of(self.argument)

    @property
    def help(self) -> str:
        return (self.argument.option.help if self.argument.option else "") + (
            '  Words or "phrases in quotes".' if self.argument.is_many else ""
        )

    @property
    def usual(self) -> str:
        """The default, as it is written on the command line; empty where other arguments decide it."""
        default = self.argument.default
        if self.argument.required or default is None or default == ():
            return ""
        if isinstance(default, bool):
            return YES if default else NO
        return f"{default[0]}:{default[1]}" if self.argument.is_range else str(default)

    @property
    def is_main(self) -> bool:
        """Whether it says what the run is of."""
        return self.argument.positional or self.argument.required

    @property
    def is_usual(self) -> bool:
        return self.argument.name in USUAL

    def words(self, value: str) -> list[str]:
        """What stands for ``value`` on the command line; of an option never a word by itself, which may be another."""
        if not value.strip() or value == self.usual:
            return []
        if self.argument.takes(bool):
            names = self.parameter.opts if value == YES else self.parameter.secondary_opts
            return list(names[:1])
        values = [quoted or word for quoted, word in QUOTED.findall(value)] if self.argument.is_many else [value]
        if isinstance(self.parameter, click.Argument):
            return values
        return [f"{self.parameter.opts[0]}={each}" for each in values]


def fields_of(experiment: Experiment, energies: Sequence[str] = ()) -> list[Field]:
    """One for each argument that says what is drawn and names no code, and one for the user's own ``energies``."""
    fields = []
    for each in experiment.arguments:
        if each.name == "energies" and energies:
            fields.append(Field(each, click_parameter(each), tuple(energies)))
        elif each.option and (each.name in OFFERED or _may_be_asked(each, each.option)):
            fields.append(Field(each, click_parameter(each), (YES, NO) if each.takes(bool) else each.choices))
    return fields


def _may_be_asked(argument: Argument, option: Option) -> bool:
    return argument.recorded and option.from_folder and option.on_resume in ("same", "larger")


def words_of(fields: Sequence[Field], values: Mapping[str, Any]) -> list[str]:
    """The words of the command line, but for the name of the command; ``values`` are texts, by name of the argument."""
    places: list[str] = []
    options: list[str] = []
    for each in fields:
        words = each.words(str(values.get(each.argument.name) or ""))
        (options if isinstance(each.parameter, click.Option) else places).extend(words)
    return [*options, "--", *places]
