"""Experiments by where they are: ours and those of other packages by name, the user's own by file."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from pathlib import Path

import click

from experiments.declaration.plugins import load_plugin, package_of
from experiments.declaration.python_files import load_file
from experiments.entry.experiment import Experiment, experiment_of

__all__ = ["experiment_in_file", "find_experiment", "plugin_command"]


def find_experiment(location: str) -> Experiment:
    """By ``Experiment.location``: ``module:function``, or a file."""
    if location.endswith(".py"):
        return experiment_in_file(location)
    module, _, name = location.partition(":")
    found = experiment_of(getattr(importlib.import_module(module), name, None))
    assert found is not None, f"{location!r} is no experiment"
    return found


def experiment_in_file(path: str) -> Experiment:
    """The one that the file declares. Runs its code.

    Raises ``InvalidInput`` for a file that cannot be run, or that declares none or several.
    """
    from samplers import InvalidInput

    module = load_file(Path(path), "FILE")
    declared = [experiment_of(each) for each in vars(module).values()]
    own = {each.name: each for each in declared if each and each.function.__module__ == module.__name__}
    if len(own) != 1:
        some = f"declares {len(own)} experiments ({', '.join(own)})" if own else "declares no experiment"
        raise InvalidInput(f"FILE: {path!r} {some}; it must have one function with @experiment")
    return next(iter(own.values()))


def plugin_command(entry: EntryPoint) -> click.Command:
    """The command that an entry point names: an experiment, or a command of click.

    Raises ``InvalidInput``, with the package, for anything else.
    """
    found = load_plugin(entry)
    if isinstance(found, click.Command):
        return found
    declared = experiment_of(found)
    if declared is not None and declared.name == entry.name:
        return declared.command()
    from samplers import InvalidInput

    called = "has no @experiment" if declared is None else f"is an experiment called {declared.name!r}"
    raise InvalidInput(f"{entry.name!r} of the package {package_of(entry)!r} {called}; register it by its name")
