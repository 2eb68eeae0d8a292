"""``evaluate truth``: what samplers of ``keywords`` say of a law, beside independent exact draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from experiments.declaration.options import click_parameter
from experiments.evaluating.command import JSON
from experiments.evaluating.evaluation import EVALUATIONS
from experiments.results.safe_text import json_line

if TYPE_CHECKING:
    from experiments.declaration.arguments import Argument
    from experiments.evaluating.estimate import Estimate

__all__ = ["WORD_SETS", "truth_command"]

DRAWS = 20_000
WORD_SETS = ("music", "night", "money", "school", "Tom home", "last night", "want go", "know what", "Tom money",
             "speak French")  # fmt: skip
OPTIONS = (
    "scorer", "writer", "length", "model", "chains", "steps", "warmup", "thin", "seed", "shortlist", "particles",
    "populations", "moves", "device",
)  # fmt: skip
"""Of ``keywords``: those that leave the law as it is, or change it for the draws too."""
LEGEND = (
    "draws: independent ones, or what those of chains are worth (ESS). nats: energy.\n"
    "z: distance from the mean of the exact draws, in errors of the difference.\n"
    "10 %, 50 %, 90 %: quantiles of the energy. log Z: log of the integral."
)


def truth_command() -> click.Command:
    keywords = EVALUATIONS["keywords"].experiment
    samplers = next(each for each in keywords.arguments if each.name == "sampler").choices
    parameters: list[click.Parameter] = [
        click.Option(["--out"], type=click.Path(file_okay=False, path_type=Path), required=True,
                     help="Folder for draws and runs; the same command again resumes."),
        click.Option(["--draws"], type=click.IntRange(1, 10**8), default=DRAWS, show_default=True,
                     help="Texts to draw. 400000 give 300 and more for each of the default sets of words."),
        click.Option(["--words"], multiple=True, default=WORD_SETS, metavar="WORDS",
                     help=f"Words with spaces between; repeatable.  [default: {', '.join(WORD_SETS)}]"),
        click.Option(["--sampler", "samplers"], multiple=True, default=("mh",), show_default=True,
                     type=click.Choice([name for name in samplers if name not in ("anneal", "rejection")]),
                     help="To compare; repeatable."),
        *(click_parameter(_of_causal(each)) for each in keywords.arguments if each.name in OPTIONS),
        JSON,
    ]  # fmt: skip
    text = """Samplers of `keywords` beside independent exact draws, for words that are frequent.

    Exact draws: texts of the causal scorer, accepted by their probability over that of drawing them, that hold the
    words. All else are runs of `mcmc-text keywords WORDS --any-words --any-texts --temperature 1 --sampler NAME`."""
    return click.Command("truth", params=parameters, callback=evaluate_truth, help=text)


def _of_causal(argument: Argument) -> Argument:
    """The scorer has to draw texts without being given words."""
    return replace(argument, default="causal-en") if argument.name == "scorer" else argument


def evaluate_truth(
    out: Path, draws: int, words: Sequence[str], samplers: Sequence[str], as_json: bool, **options: Any
) -> None:
    """Print the tables, each as soon as it is known.

    Raises ``InvalidInput`` for words that the scorer never draws, before it draws any.
    """
    from experiments.evaluating.estimate import HEAD, of_run
    from experiments.evaluating.truth_pool import fill_pool
    from experiments.keywords import keywords, scorer_as_proposal
    from experiments.setup.models import load_masked
    from experiments.setup.scorers import load_scorer
    from experiments.setup.settings import Settings
    from lm_adapters import Keywords
    from samplers import InvalidInput
    from samplers.run import progress_bar

    sets = [tuple(each.split()) for each in words]
    if not all(sets):
        raise InvalidInput("--words is empty; give words with spaces between")
    settings = Settings.of(options)
    lm = load_masked(settings)
    scored = load_scorer(options["scorer"], lm, settings)
    locks = [Keywords(lm.space, each) for each in sets]
    distribution, *_ = [scorer_as_proposal(scored, lm, lock, options["length"]) for lock in locks]
    with progress_bar(draws, shown=not as_json, unit="text") as bar:
        pool = fill_pool(out / "pool", distribution, draws, options["seed"], bar.update)
    law: dict[str, Any] = {"real_words": False, "new_texts": False, "temperature": 1.0}  # that of the draws
    for each in sets:
        truth = pool.holding(each)
        found = [truth]
        if not as_json:
            click.echo(f"\n{' '.join(each)}: {truth.draws:,.0f} of {pool.tried:,} draws\n{HEAD}\n{truth.row(truth)}")
        for sampler in samplers:
            folder = out / "runs" / quote(f"{sampler} {' '.join(each)}", safe=" ")
            run = keywords(each, sampler=sampler, out=str(folder), **law, progress=False, **options)
            found.append(of_run(sampler, run))
            if not as_json:
                click.echo(found[-1].row(truth))
        if as_json:
            _print_json(each, pool.tried, found)
    if not as_json:
        click.echo(f"\n{LEGEND}")


def _print_json(words: Sequence[str], tried: int, found: Sequence[Estimate]) -> None:
    for each in found:
        click.echo(json_line({"words": list(words), "tried": tried, **each.as_json(found[0])}))
