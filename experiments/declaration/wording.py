"""How messages name an argument: ``steps`` to a caller in Python, ``--steps`` to a shell."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["Remark", "argument", "command_words", "in_options", "named_arguments", "remark"]

WORDS = "mcmc_text.command_words"  # in the context of a command that is called by more than its name


class Remark(UserWarning):
    """What a user should know of a run as it begins; worker processes leave it to the one that started them."""


def remark(text: str) -> None:
    """Show one line about the run that begins: a warning, which is ``warning: ...`` on stderr of a shell."""
    warnings.warn(text, Remark, stacklevel=3)


def argument(name: str) -> str:
    """The argument's own name; to a shell its option, of the command that is being run or of one that began a run."""
    context = click.get_current_context(silent=True)
    if context is None:
        return name
    parameter = next((each for each in context.command.params if each.name == name), None)
    if parameter is None:
        return f"--{name.replace('_', '-')}"
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name.rstrip(".")
    return parameter.opts[0]


def in_options(message: str) -> str:
    """A message of the libraries for a shell: ``dtype=bfloat16`` is ``--dtype bfloat16`` there."""
    message = message.replace("trust_remote_code=True", "--trust-remote-code")
    message = re.sub(r"\b(source|target)_lang\b", r"--\1-lang", message)
    return re.sub(r"\bdtype=(\w+)", r"--dtype \1", message)


def command_words() -> list[str] | None:
    """The words that call the command that is being run, such as ``mcmc-text gibbs``; ``None`` in Python."""
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    return ["mcmc-text", *context.meta.get(WORDS, [str(context.info_name)])]


@contextmanager
def named_arguments() -> Iterator[None]:
    """For checks of the libraries: an ``InvalidInput`` that begins with an argument's name begins as ``argument`` says.

    What is checked must have the names of the experiment's own arguments.
    """
    from samplers import InvalidInput

    try:
        yield
    except InvalidInput as error:
        name, _, rest = str(error).partition(" ")
        raise InvalidInput(f"{argument(name)} {rest}") from error
