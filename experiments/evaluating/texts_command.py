"""``evaluate texts``: any texts, from files and from folders of runs, beside held-out ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import click

from experiments.evaluating.cases import Trial, cases_of_nothing
from experiments.evaluating.command import BLIND, CORPUS, JSON, show
from experiments.evaluating.evaluation import COUNT
from experiments.evaluating.table import Texts
from experiments.judging.judge import shuffled_words

__all__ = ["texts_command"]


def texts_command() -> click.Command:
    parameters = [
        click.Argument(["paths"], metavar="FILE...", nargs=-1, required=True,
                       type=click.Path(exists=True, path_type=Path)),
        CORPUS,
        click.Option(["--count"], type=click.IntRange(1, 10_000), default=COUNT, show_default=True,
                     help="Texts of each, drawn at random where there are more."),
        click.Option(["--seed"], type=click.IntRange(min=0), default=0, show_default=True),
        click.Option(["--judge-encoder"], metavar="MODEL",
                     help="Sentence encoder, to tell how far the meanings of the texts are from held-out ones."),
        BLIND,
        JSON,
    ]  # fmt: skip
    text = """Texts in FILE (one a line, or JSON Lines with "text"), or of the run in the folder FILE.

    Each beside as many held-out sentences, and these with their words shuffled."""
    return click.Command("texts", params=parameters, callback=evaluate_texts, help=text)


def evaluate_texts(
    paths: Sequence[Path],
    corpus: Path,
    count: int,
    seed: int,
    judge_encoder: str | None,
    blind: Path | None,
    as_json: bool,
) -> None:
    """Print the table. Raises ``InvalidInput`` for a file without a text and for a list that is there already."""
    from experiments.evaluating.blind import check_blind
    from experiments.evaluating.clouds import show_clouds
    from lm_adapters import SentenceEncoder

    if blind is not None:
        check_blind(blind)
    encoder = None if judge_encoder is None else SentenceEncoder.from_pretrained(judge_encoder)
    rng = random.Random(seed)
    given = [_some(_texts_of(path), count, rng) for path in paths]
    trial = Trial(corpus, max(map(len, given)), seed, {})
    held_out = [case.held_out for case in cases_of_nothing(trial)]
    names = [f"{number}. {path.name}" if len(paths) > 1 else path.name for number, path in enumerate(paths, start=1)]
    rows = [
        Texts("held-out", held_out),
        *map(Texts, names, given),
        Texts("words shuffled", shuffled_words(held_out, seed)),
    ]
    show(rows, corpus, blind=blind, seed=seed, as_json=as_json, judged_by_bar=names, read=len(paths) + 1)
    if encoder is not None:
        show_clouds(encoder, rows, as_json=as_json)


def _some(texts: list[str], count: int, rng: random.Random) -> list[str]:
    return texts if len(texts) <= count else rng.sample(texts, count)


def _texts_of(path: Path) -> list[str]:
    """Of a run all draws. Raises ``InvalidInput``."""
    from experiments.entry.saved_run import load_run
    from experiments.scoring.lines import Origin, read_lines
    from samplers import InvalidInput

    if path.is_dir():
        texts = [sample["text"] for sample in load_run(path).samples()]
    else:
        origin, texts = Origin(f"FILE {str(path)!r}", is_file=True), []
        with path.open("rb") as stream:
            for index, line in enumerate(read_lines(stream, "auto", origin.name)):
                if line.problem:
                    raise InvalidInput(f"{origin.place(index)}: {line.problem}")
                if line.text.strip():
                    texts.append(line.text)
    if not texts:
        raise InvalidInput(f"FILE {str(path)!r} has no text; write one a line")
    return texts
