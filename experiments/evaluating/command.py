"""``evaluate NAME``: the options of the experiment, and those of the judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.declaration.options import click_parameter
from experiments.evaluating.evaluation import COUNT, EVALUATIONS, Evaluation, collect
from experiments.results.safe_text import json_line

if TYPE_CHECKING:
    from experiments.evaluating.table import Judged, Texts
    from experiments.judging.judge import Verdict

__all__ = ["BLIND", "CORPUS", "ENCODER", "evaluation_command", "show"]

CORPUS = click.Option(
    ["--corpus"], type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder with the tatoeba.* and books.* files of train-embedded.",
)  # fmt: skip
BLIND = click.Option(
    ["--blind"], type=click.Path(dir_okay=False, path_type=Path),
    help="Write a list for blind reading: texts of all kinds, shuffled. What each is, is in FILE.key.", metavar="FILE",
)  # fmt: skip
ENCODER = click.Option(
    ["--judge-encoder"], metavar="MODEL",
    help="Sentence encoder for the cosine to the source: not the one that the samples were drawn with.",
)  # fmt: skip
WORKERS = click.Option(
    ["--workers"], type=click.IntRange(1), default=1, show_default=True,
    help="Processes, each with another row. The texts stay the same.",
)  # fmt: skip
OUT = click.Option(
    ["--out"], type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the runs, one of each row; the same command again goes on where it was stopped.",
)  # fmt: skip
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print the table as JSON Lines, and nothing else.")
NO_PART = (  # a run without a folder, in the language of the corpus
    "out", "workers", "backend", "ray_address", "commit_every", "allow_version_change", "progress", "lang",
)  # fmt: skip


def evaluation_command(name: str) -> click.Command:
    """The command of one experiment. ``help`` of the options that are the experiment's own is theirs."""
    evaluation = EVALUATIONS[name]
    declared = evaluation.experiment
    parameters: list[click.Parameter] = [
        CORPUS,
        click.Option(["--count"], type=click.IntRange(1, 10_000), default=COUNT, show_default=True,
                     help="Texts, and held-out rows to take."),
        OUT,
        BLIND,
        *([] if evaluation.one_run else [WORKERS]),
        *([ENCODER] if evaluation.keeps_meaning else []),
        JSON,
    ]  # fmt: skip
    for each in declared.arguments:
        if each.option and not each.positional and each.name not in {*NO_PART, *evaluation.from_cases}:
            changed: dict[str, Any] = {}
            if each.name in evaluation.defaults:
                changed = {"required": False, "default": evaluation.defaults[each.name], "show_default": True}
            elif each.name == "chains":
                usual = f"1 of Markov chains, else {evaluation.usual_chains}"
                help_ = f"Chains of a run: each gives a text, those of a search one together.  [default: {usual}]"
                changed = {"default": None, "show_default": False, "help": help_}
            parameters.append(click_parameter(each, **changed))

    def callback(**given: Any) -> None:
        evaluate(evaluation, **given)

    text = f"""Texts of `{name}` on held-out rows, beside held-out text and baselines.

    Takes the options of `mcmc-text {name}`, but for those that come from the rows."""
    return click.Command(name, params=parameters, callback=callback, help=text)


def evaluate(
    evaluation: Evaluation,
    *,
    corpus: Path,
    count: int,
    seed: int,
    out: Path | None,
    blind: Path | None,
    as_json: bool,
    workers: int = 1,
    judge_encoder: str | None = None,
    **options: Any,
) -> None:
    """Print the table, each row as soon as it is known.

    Raises ``InvalidInput`` for a list that is there already, before anything is drawn.
    """
    from experiments.evaluating.blind import check_blind
    from experiments.evaluating.cases import Trial
    from lm_adapters import SentenceEncoder
    from samplers.run import progress_bar

    if blind is not None:
        check_blind(blind)
    encoder = None if judge_encoder is None else SentenceEncoder.from_pretrained(judge_encoder)
    with progress_bar(count, shown=not as_json, unit="text") as bar:
        rows = collect(evaluation, Trial(corpus, count, seed, options), out, workers, bar.update)
        show(rows, corpus, evaluation.measures, encoder, blind=blind, seed=seed, as_json=as_json)


def show(
    rows: Iterable[Texts],
    corpus: Path,
    measures: Sequence[str] = (),
    encoder: Any = None,
    *,
    blind: Path | None,
    seed: int,
    as_json: bool,
    judged_by_bar: Sequence[str] = ("samples",),
    read: int = 3,
) -> None:
    """Judge the rows, of which the first is held-out text, and print each as it comes.

    The first ``read`` are read blind.
    """
    from experiments.evaluating.blind import write_blind
    from experiments.evaluating.table import judge_rows
    from experiments.judging.judge import Judge

    texts: list[Texts] = []

    def kept() -> Iterator[Texts]:
        for row in rows:
            texts.append(row)
            yield row

    judged = judge_rows(Judge.from_corpus(corpus), kept(), measures, encoder)
    (_print_json if as_json else _print_table)(judged, judged_by_bar)
    if blind is not None:
        write_blind(blind, texts[:read], seed)
    if blind is not None:
        click.echo(f"\n{blind} is for reading; {blind}.key says what each text is", err=as_json)


def _print_table(judged: Iterable[Judged], judged_by_bar: Sequence[str]) -> None:
    from experiments.evaluating.table import bar_line, head, legend
    from experiments.results.columns import fold

    shown: list[Judged] = []
    for row in judged:
        if not shown:
            _say(head(row))
        _say(str(row))
        shown.append(row)
    _say(f"\n{legend(shown[0])}")
    for row in shown:
        if row.name in judged_by_bar:
            _say("\n" + "\n".join(fold(f"{row.name}: {bar_line(row.verdict, shown[0].verdict)}", 80)))


def _print_json(judged: Iterable[Judged], judged_by_bar: Sequence[str]) -> None:
    from experiments.evaluating.table import bars

    held_out: Verdict | None = None
    for row in judged:
        held_out, own = held_out or row.verdict, row.as_json()
        if row.name in judged_by_bar:
            own["bar"] = {name: met for name, (_, met) in bars(row.verdict, held_out).items()}
        _say(json_line(own))


def _say(line: str) -> None:
    """At once, and not into the bar that shows how far the samples are."""
    from tqdm import tqdm

    with tqdm.external_write_mode():
        click.echo(line)
