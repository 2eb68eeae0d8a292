"""``mcmc-text run FILE.py ...``: an experiment of your own, from a file anywhere."""

from __future__ import annotations

from typing import Any

import click

from experiments.declaration.user_code import prints_to_stderr
from experiments.declaration.wording import WORDS
from experiments.entry.find import experiment_in_file

__all__ = ["command"]


class _Run(click.Command):
    """Turns into the command of the experiment that its first argument names."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not args or args[0].startswith("-"):
            return super().make_context(info_name, args, parent, **extra)
        path, *rest = args
        if not path.endswith(".py"):
            raise click.UsageError(f"{path!r} is no Python file; give one that ends in .py", parent)
        with prints_to_stderr():
            declared = experiment_in_file(path)
        command = declared.command()
        if parent is not None:
            parent.meta[WORDS] = [str(info_name), path]
        return command.make_context(f"{info_name} {path}", rest, parent, **extra)


@click.command("run", cls=_Run, options_metavar="", add_help_option=True)
@click.argument("file", metavar="FILE.py")
@click.argument("arguments", nargs=-1, metavar="[ARGUMENTS AND OPTIONS OF THE EXPERIMENT]...")
def command(file: str, arguments: tuple[str, ...]) -> None:
    """Run the experiment that FILE.py declares with @experiment; it resumes and has workers like ours.

    `mcmc-text run FILE.py --help` says what it takes.
    """
