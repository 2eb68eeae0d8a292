"""Options that every experiment shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from experiments.runs.resume_option import folder, resume
from experiments.setup.settings import LIMITS, Settings

if TYPE_CHECKING:
    from lm_adapters import MaskedLM

__all__ = ["LENGTH", "check_length", "run_options", "scorer_option", "shortlist_option", "trust_option"]


class _Length(click.ParamType):
    """``8`` or ``6:12``, in tokens."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            low, _, high = value.partition(":")
            lengths = int(low), int(high or low)
        except ValueError:
            self.fail(f"{value!r} is no length; give tokens as 8 or 6:12", param, ctx)
        if not 1 <= lengths[0] <= lengths[1]:
            self.fail(f"{value!r} is no range of lengths; give at least 1 and the smaller number first", param, ctx)
        return lengths


LENGTH = _Length()

scorer_option = click.option(
    "--scorer", default="causal-en", show_default=True, help="Language model whose -log p is the fluency."
)
shortlist_option = click.option(
    "--shortlist",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Candidates that --sampler gibbs scores at a site.",
)

trust_option = click.option(
    "--trust-remote-code", is_flag=True, help="Run Python code that a model brings along. Read it first."
)


def run_options(*, steps: int = 300, burn_in: int = 100) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds them to a command, with the command's own defaults for how long to run."""
    options = [
        click.option("--model", default="masked-en", show_default=True, help="Embedded model, folder, or hub name."),
        _count("--chains", "Chains run together."),
        _count("--steps", "Steps in all.", steps),
        _count("--burn-in", "Steps not kept.", burn_in),
        _count("--thin", "Keep every n-th step."),
        _count("--seed", "Decides the draws."),
        click.option(
            "--energy",
            "energies",
            multiple=True,
            metavar="FILE.py:NAME[=WEIGHT]",
            help="Add your own energy: a function of a list of texts that returns nats, lower is better. Repeatable.",
        ),
        click.option(
            "--forbid", multiple=True, metavar="WORD", help="No text may hold this word or phrase. Repeatable."
        ),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ..."),
        click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16."),
        trust_option,
        click.option(
            "--out",
            type=click.Path(),
            callback=folder,
            help="Folder for the run's files; a run that is there already goes on.  [default: runs/NAME-TIME]",
        ),
        click.option(
            "--resume",
            type=click.Path(),
            is_eager=True,
            expose_value=False,
            callback=resume,
            metavar="DIR",
            help="Go on with the run in this folder, with its arguments and options where none are given.",
        ),
        click.option(
            "--nan",
            type=click.Choice(["raise", "reject"]),
            default="raise",
            show_default=True,
            help="raise: an energy that is NaN ends the run. reject: its proposal is rejected and counted, up to 1 %.",
        ),
        _count("--shard-size", "Chains that share a generator; part of what a seed means."),
        _count("--commit-every", "Steps between two times that the folder gets all that was drawn."),
        _count("--workers", "Processes that share the shards."),
        click.option(
            "--allow-version-change", is_flag=True, help="Go on with a run that other versions of the libraries began."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the samples as JSON Lines, and nothing else."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _count(option: str, told: str, default: int | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option for one of the ``LIMITS``; its default is that of ``Settings``."""
    name = option.removeprefix("--").replace("-", "_")
    default = getattr(Settings, name) if default is None else default
    return click.option(option, type=click.IntRange(*LIMITS[name]), default=default, show_default=True, help=told)


def check_length(length: tuple[int, int], lm: MaskedLM) -> None:
    """Raise ``InvalidInput`` if texts may get longer than the model takes."""
    from samplers import InvalidInput

    if length[1] > lm.max_length:
        raise InvalidInput(f"--length goes to {length[1]} tokens, the model takes {lm.max_length}; give at most that")
