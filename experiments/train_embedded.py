"""Train the models that ship with the project."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("train-embedded")
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder with tatoeba.eng.txt.gz and tatoeba.eng-fra.tsv.gz.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder for checkpoint, learning curve, and the model in OUT/model.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def command(corpus: Path, out: Path, seed: int, threads: int) -> None:
    """Train the embedded masked LM; the same command again resumes."""
    from experiments.training.card import export
    from experiments.training.data import by_length, english_split
    from experiments.training.loop import MAX_LENGTH, Recipe, train

    recipe = Recipe(seed=seed, threads=threads)
    model, tokenizer = train(recipe, corpus, out)
    training, held_out = english_split(corpus)
    epoch_tokens = sum(rows.numel() for rows in by_length(tokenizer, training, MAX_LENGTH).values())
    export(model, tokenizer, recipe, out, out / "model", held_out=held_out, epoch_tokens=epoch_tokens)
    click.echo(f"{out / 'model'} is ready; its card is {out / 'model' / 'README.md'}")
