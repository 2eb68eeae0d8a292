"""One task, six samplers: what each finds and what it pays, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import click

from experiments.declaration.arguments import Option
from experiments.entry.experiment import experiment
from experiments.keywords import SAMPLERS, TEMPERATURE, given_words, keywords, scorer_as_proposal
from experiments.laws.top_p import check_top_p
from experiments.results.figures import RATE, number
from experiments.results.safe_text import json_line
from experiments.setup.common_options import LENGTH, SENTENCE_SCORER, TOP_P, WORDS
from experiments.setup.job import Job
from experiments.setup.scorers import load_scorer
from experiments.setup.settings import SEARCHES, Settings

if TYPE_CHECKING:
    from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM

__all__ = ["compare"]

COLUMNS = (
    ("sampler", "<10"), ("texts", ">5"), ("nats", ">7"), ("ESS", ">7"), ("accepted", ">8"),
    ("forwards", ">8"), ("tokens", ">10"), ("seconds", ">7"), ("ESS/s", ">6"), ("ESS/M", ">6"),
)  # fmt: skip


def check(settings: Settings, *, top_p: float, **_: object) -> None:
    """Raise ``InvalidInput`` for what one of the samplers cannot do, and a nucleus that cannot be."""
    check_top_p(top_p)
    for sampler in SAMPLERS:
        replace(settings, **of_sampler(settings, sampler)).check_for(sampler)


def show_table(found: Mapping[str, Mapping[str, Any]], *, as_json: bool, quiet: bool) -> None:
    """Print a row for each sampler."""
    if as_json:
        for sampler, summary in found.items():
            click.echo(json_line({"sampler": sampler, **summary}))
    elif not quiet:
        click.echo("  ".join(format(name, spec) for name, spec in COLUMNS))
        for sampler, summary in found.items():
            click.echo(row(sampler, summary))
        click.echo(
            "\nanneal searches: its nats, of a text, are those of the best. ESS counts independent draws, ESS/M those "
            "by a million tokens; what making the starts costs is in all figures."
        )
        click.echo(f"target: {found['mh']['target']}")


@experiment(extensible=False, check=check, show=show_table, temperature=TEMPERATURE)
def compare(
    job: Job,
    words: Annotated[Sequence[str], WORDS],
    *,
    any_order: Annotated[bool, Option("The words may come in any order.")] = False,
    scorer: Annotated[str | CausalLM | MaskedLM | Seq2SeqLM, SENTENCE_SCORER] = "causal-en",
    length: Annotated[tuple[int, int], LENGTH] = (3, 16),
    top_p: Annotated[float, TOP_P] = 1.0,
) -> dict[str, dict[str, Any]]:
    """Sentences that contain the WORDs, by all six samplers of `keywords`, with what each costs.
    Whole words: "ladder" is not in "ladders", "ladder's" or "ladder-like".

    Returns the summaries of ``keywords`` by each of its samplers, all with the same chains and steps. Arguments and
    errors as there; ``out`` gets a folder for each sampler.
    """
    from lm_adapters import Keywords

    settings = job.settings
    lm = job.masked_lm()
    scored = load_scorer(scorer, lm, settings, given_words(words), top_p=top_p)
    scorer_as_proposal(scored, lm, Keywords(lm.space, words, any_order), length)  # refuses what rejection cannot do
    found = {}
    for sampler in SAMPLERS:
        shared = settings.as_arguments() | of_sampler(settings, sampler) | {"model": lm}
        run = keywords(
            words, any_order=any_order, sampler=sampler, scorer=scored.lm, length=length, top_p=top_p, **shared
        )
        found[sampler] = run.summary()
    return found


def of_sampler(settings: Settings, sampler: str) -> dict[str, Any]:
    """What of the settings is another for each: the folder, and a search has no temperature."""
    out = f"{settings.out}/{sampler}" if settings.out else None
    return {"out": out, "temperature": 1.0 if sampler in SEARCHES else settings.temperature}


def row(sampler: str, summary: Mapping[str, Any]) -> str:
    accepted, cost = summary.get("acceptance", math.nan), summary["cost"]
    cells = (
        sampler,
        str(summary["draws"] if "draws" in summary else summary["chains"]),
        number(summary["energy_mean"], ".2f"),
        number(summary.get("ess_bulk", math.nan), ".1f"),
        number(accepted, ".0%" if not accepted < 0.01 else ".1g"),
        f"{cost['forwards']:,}",
        f"{cost['tokens']:,}",
        f"{summary['seconds']:.1f}",
        number(summary.get("ess_per_second", math.nan), RATE),
        number(summary.get("ess_per_million_tokens", math.nan), RATE),
    )
    return "  ".join(format(cell, spec) for cell, (_, spec) in zip(cells, COLUMNS, strict=True))
