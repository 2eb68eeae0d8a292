"""Train the models that ship with the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from experiments.training.tasks.task import Task

__all__ = ["command"]


@click.command("train-embedded")
@click.argument(
    "name",
    type=click.Choice(
        [
            *("masked-en", "causal-en", "seq2seq-en", "kinds-en", "words-en", "known-en"),
            *("masked-zh", "causal-zh", "seq2seq-zh"),
        ]
    ),
    default="masked-en",
)
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder with tatoeba.eng.txt.gz and books.eng.txt.gz; for seq2seq-en, "
              "tatoeba.eng-{fra,deu}.tsv.gz and tatoeba.eng-paraphrase.tsv.gz too; for kinds-en, "
              "those translations; for the Chinese ones, tatoeba.eng.txt.gz, tatoeba.eng-cmn.tsv.gz and "
              "tang-couplets.zho.txt.gz.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder for checkpoint, learning curve, and the model in OUT/model.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--steady", type=click.IntRange(1), default=None,
              help="Steps before the rate falls; the number done ends a run.  [default: the recipe's]")  # fmt: skip
def command(name: str, corpus: Path, out: Path, seed: int, threads: int, device: str, steady: int | None) -> None:
    """Train an embedded model, by default masked-en; the same command again resumes.

    Training begins with the weights of that model as it is installed. words-en is the list of the words that the
    training sentences hold, with which texts are kept to real words; known-en has the sentences themselves, as digests,
    with which texts are kept from being one of them.
    """
    from dataclasses import replace

    from lm_adapters import check_device

    check_device(device)
    if name in ("words-en", "known-en"):
        from experiments.training.known import write_known
        from experiments.training.words import write_words

        written = (write_words if name == "words-en" else write_known)(corpus, out)
        click.echo(f"{written} is ready; {out / 'README.md'} says what it is")
        return

    from experiments.training.card import export
    from experiments.training.loop import train

    task_class = _task_class(name)
    recipe = replace(task_class.recipe, seed=seed, threads=threads, device=device)
    if steady is not None:
        recipe = replace(recipe, steady=steady)
    task, model = train(task_class, recipe, corpus, out)
    export(task, model, recipe, out, out / "model")
    click.echo(f"{out / 'model'} is ready; its card is {out / 'model' / 'README.md'}")


def _task_class(name: str) -> type[Task]:
    from experiments.training.chinese.causal import ChineseCausalTask
    from experiments.training.chinese.masked import ChineseMaskedTask
    from experiments.training.chinese.seq2seq import ChineseSeq2SeqTask
    from experiments.training.tasks.causal import CausalTask
    from experiments.training.tasks.kinds import KindsTask
    from experiments.training.tasks.masked import MaskedTask
    from experiments.training.tasks.seq2seq import Seq2SeqTask

    english = (MaskedTask, CausalTask, Seq2SeqTask, KindsTask)
    chinese = (ChineseMaskedTask, ChineseCausalTask, ChineseSeq2SeqTask)
    return next(task for task in (*english, *chinese) if task.name == name)
