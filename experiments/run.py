"""``mcmc-text run FILE ...``: an experiment of your own from FILE.py, or what a YAML or TOML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from experiments.declaration.user_code import prints_to_stderr
from experiments.declaration.wording import WORDS
from experiments.entry.find import experiment_in_file
from experiments.run_files.command import SUFFIXES, context_of_file
from experiments.runs.repeat_file import RUN_FILE

__all__ = ["command"]


class _Run(click.Command):
    """Turns into the command of the experiment that its first argument names."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not args or args[0].startswith("-"):
            return super().make_context(info_name, args, parent, **extra)
        path, *rest = args
        if Path(path).suffix in SUFFIXES:
            return context_of_file(Path(path), rest, str(info_name), parent, **extra)
        if not path.endswith(".py"):
            inside = f"; did you mean {str(Path(path, RUN_FILE))!r}?" if Path(path, RUN_FILE).is_file() else ""
            problem = f"{path!r} is no Python, YAML or TOML file; give one that ends in .py, .yaml or .toml{inside}"
            raise click.UsageError(problem, parent)
        with prints_to_stderr():
            declared = experiment_in_file(path)
        command = declared.command()
        if parent is not None:
            parent.meta[WORDS] = [str(info_name), path]
        return command.make_context(f"{info_name} {path}", rest, parent, **extra)


@click.command("run", cls=_Run, options_metavar="", add_help_option=True)
@click.argument("file", metavar="FILE")
@click.argument("arguments", nargs=-1, metavar="[ARGUMENTS AND OPTIONS OF THE EXPERIMENT]...")
def command(file: str, arguments: tuple[str, ...]) -> None:
    """Run what FILE says.

    FILE.yaml or FILE.toml names an experiment and its options, as in "experiment: keywords" and "chains: 4"; every
    run's folder has such a file, run.yaml. Options that follow FILE replace its own. A list of values for an option
    that takes one makes a run for each, with a table at the end.

    FILE.py declares an experiment of yours with @experiment; it resumes and has workers like ours.

    `mcmc-text run FILE --help` says what it takes.
    """
