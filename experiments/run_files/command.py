"""The command line of a run file: that of its experiment, with the file's values in place of the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from experiments.declaration.options import given_options
from experiments.declaration.user_code import prints_to_stderr
from experiments.declaration.wording import WORDS
from experiments.run_files.plan import Plan, experiment_of_document, read_plan
from experiments.run_files.reading import SUFFIXES, read_document
from experiments.run_files.sweep import run_sweep

__all__ = ["SUFFIXES", "context_of_file"]


def context_of_file(
    path: Path, rest: list[str], info_name: str, parent: click.Context | None, **extra: Any
) -> click.Context:
    """The context in which the run or the sweep of the file is done; ``rest`` follows it on the command line.

    A file takes no ``--resume``: that is the command of the experiment. Raises ``InvalidInput`` with file and line.
    """
    document = read_document(path)
    with prints_to_stderr():
        declared, words = experiment_of_document(document)
    command = declared.command()
    command.params = [each for each in command.params if each.name != "resume"]
    plan = read_plan(document, declared, command)
    if plan.swept and declared.show:
        line = plan.lines[plan.swept[0].name]
        raise document.bad(line, f"{declared.name!r} prints a table of its own and makes no run; give one value")
    folder = plan.fixed.pop("out", None)
    first = next(plan.points())

    def run(as_json: bool, quiet: bool, **options: Any) -> None:
        context = click.get_current_context()
        given = given_options(context, options)
        if plan.swept:
            _refuse_swept(plan, context)
            if not run_sweep(plan, declared, given, rest, as_json=as_json, quiet=quiet):
                context.exit(1)
            return
        with plan.places_in_errors():
            result = declared.run_options(given, progress=not quiet)
        declared.print_result(result, as_json=as_json, quiet=quiet)

    command.callback = run
    if parent is not None:
        parent.meta[WORDS] = words
    arguments = [*(["--out", folder] if folder else []), *rest]
    return command.make_context(f"{info_name} {path}", arguments, parent, default_map=plan.fixed | first, **extra)


def _refuse_swept(plan: Plan, context: click.Context) -> None:
    for each in plan.swept:
        if context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE:
            where = f"{str(plan.document.path)!r}, line {plan.lines[each.name]}"
            raise click.UsageError(f"--{each.key} is given, and {where} lists values of it; leave one of the two out")
