"""One task, six samplers: what each finds and what it pays, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from experiments.keywords import SAMPLERS, keywords
from experiments.results.figures import number
from experiments.results.safe_text import json_line
from experiments.setup.options import LENGTH, run_options, scorer_option
from experiments.setup.settings import Settings
from experiments.setup.solve import begun

if TYPE_CHECKING:
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["command", "compare"]

COLUMNS = (
    ("sampler", "<11"), ("texts", ">5"), ("nats a text", ">11"), ("ESS", ">7"), ("accepted", ">8"),
    ("forwards", ">8"), ("rows", ">9"), ("tokens", ">11"), ("seconds", ">7"),
)  # fmt: skip


def compare(
    words: Sequence[str],
    *,
    any_order: bool = False,
    scorer: str | CausalLM | MaskedLM = "causal-en",
    length: tuple[int, int] = (3, 16),
    **shared: Any,
) -> dict[str, dict[str, Any]]:
    """The summaries of ``keywords`` by each of its samplers, all with the same chains and steps.

    Arguments and errors as there; ``out`` gets a folder for each sampler.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from experiments.setup.scorers import load_scorer

    settings = Settings(**shared)
    for sampler in SAMPLERS:
        settings.check_for(sampler)
    config = settings.config("compare", **{**own, "words": list(words)})
    found = {}
    with begun(settings, config, extensible=False):
        lm = settings.masked_lm()
        loaded = load_scorer(scorer, lm, settings).lm
        for sampler in SAMPLERS:
            out = f"{settings.out}/{sampler}" if settings.out else None
            run = keywords(
                words,
                any_order=any_order,
                sampler=sampler,
                scorer=loaded,
                length=length,
                **{**shared, "model": lm, "out": out},
            )
            found[sampler] = run.summary()
    return found


def row(sampler: str, summary: Mapping[str, Any]) -> str:
    accepted, cost = summary.get("acceptance", math.nan), summary["cost"]
    cells = (
        sampler,
        str(summary["draws"] if "draws" in summary else summary["chains"]),
        number(summary["energy_mean"], ".2f"),
        number(summary.get("ess_bulk", math.nan), ".1f"),
        number(accepted, ".0%" if not accepted < 0.01 else ".1g"),
        f"{cost['forwards']:,}",
        f"{cost['rows']:,}",
        f"{cost['tokens']:,}",
        f"{summary['seconds']:.1f}",
    )
    return "  ".join(format(cell, spec) for cell, (_, spec) in zip(cells, COLUMNS, strict=True))


@click.command("compare")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("--any-order", is_flag=True, help="The words may come in any order.")
@scorer_option
@click.option("--length", type=LENGTH, default="3:16", show_default=True, help="Tokens a text: N or LOW:HIGH.")
@run_options()
def command(words: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Sentences that contain the WORDs, by all six samplers of `keywords`, with what each costs."""
    found = compare(words, **options, progress=not quiet)
    if as_json:
        for sampler, summary in found.items():
            click.echo(json_line({"sampler": sampler, **summary}))
    elif not quiet:
        click.echo("  ".join(format(name, spec) for name, spec in COLUMNS))
        for sampler, summary in found.items():
            click.echo(row(sampler, summary))
        click.echo("\nanneal searches: its nats are those of the best texts. ESS counts independent draws.")


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
